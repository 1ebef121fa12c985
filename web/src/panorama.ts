// The 360° viewer and what it shows: two panoramas mixed, and the views' coverage laid over them.

import { EquirectangularAdapter, Viewer } from "@photo-sphere-viewer/core";
import "@photo-sphere-viewer/core/index.css";

// Colours of directions that no view sees, one, two, and more.
const COVERAGE = [
  [214, 40, 40],
  [247, 172, 46],
  [46, 134, 222],
  [38, 166, 91],
];

export interface Layers {
  geometric?: ImageBitmap;
  model?: ImageBitmap;
  count?: ImageBitmap;
}

export class Panorama {
  private viewer: Viewer | undefined;
  private layers: Layers = {};
  private tint: HTMLCanvasElement | undefined;
  private drawing = false;
  private again = false;

  constructor(
    private readonly place: HTMLElement,
    private readonly shown: () => { mix: number; overlay: number },
  ) {}

  async show(layers: Layers): Promise<void> {
    this.layers = layers;
    this.tint = layers.count && tinted(layers.count);
    await this.redraw();
  }

  /** Draw what the sliders say; what they say meanwhile is drawn afterwards. */
  async redraw(): Promise<void> {
    if (this.drawing) {
      this.again = true;
      return;
    }
    this.drawing = true;
    try {
      do {
        this.again = false;
        await this.draw();
      } while (this.again);
    } finally {
      this.drawing = false;
    }
  }

  private async draw(): Promise<void> {
    const { geometric, model } = this.layers;
    const ground = geometric ?? model;
    if (!ground) return;
    const { mix, overlay } = this.shown();
    const canvas = document.createElement("canvas");
    const size = model && geometric && model.width > geometric.width ? model : ground;
    canvas.width = size.width;
    canvas.height = size.height;
    const context = canvas.getContext("2d")!;
    context.drawImage(ground, 0, 0, canvas.width, canvas.height);
    if (model && geometric && mix > 0) {
      context.globalAlpha = mix;
      context.drawImage(model, 0, 0, canvas.width, canvas.height);
    }
    if (this.tint && overlay > 0) {
      context.globalAlpha = 0.75 * overlay;
      context.drawImage(this.tint, 0, 0, canvas.width, canvas.height);
    }
    const blob = await new Promise<Blob>((resolve) =>
      canvas.toBlob((made) => resolve(made!), "image/jpeg", 0.92),
    );
    const url = URL.createObjectURL(blob);
    try {
      await this.set(url);
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  private async set(panorama: string): Promise<void> {
    if (this.viewer) {
      await this.viewer.setPanorama(panorama, { transition: false, showLoader: false });
      return;
    }
    const viewer = new Viewer({
      container: this.place,
      panorama,
      // What is shown is drawn here and has no metadata.
      adapter: EquirectangularAdapter.withConfig({ useXmpData: false }),
      defaultZoomLvl: 20,
      navbar: ["zoom", "move", "fullscreen"],
      keyboard: "always",
      canvasBackground: "#000",
    });
    this.viewer = viewer;
    await new Promise<void>((resolve) => viewer.addEventListener("ready", () => resolve(), { once: true }));
  }
}

/** A panorama of counts, 0 to 255, in colours. */
function tinted(count: ImageBitmap): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = count.width;
  canvas.height = count.height;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(count, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 0; place < pixels.data.length; place += 4) {
    const colour = COVERAGE[Math.min(pixels.data[place], COVERAGE.length - 1)];
    pixels.data.set(colour, place);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
