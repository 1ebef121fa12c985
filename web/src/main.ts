// The page: what people choose becomes requests, what comes back is shown.

import "./style.css";
import * as api from "./api";
import { Panorama, type Layers } from "./panorama";

const GEOMETRIC = "geometric";
const UPLOAD = "\u2026upload";
const LENS = "\u2026lens";
const PREVIEW = "512x256";
const SETTLED = 250; // milliseconds after which a slider is taken to rest

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const files = element<HTMLInputElement>("files");
const drop = element<HTMLLabelElement>("drop");
const sample = element<HTMLSelectElement>("sample");
const thumbnails = element<HTMLOListElement>("thumbnails");
const rig = element<HTMLSelectElement>("rig");
const rigFile = element<HTMLInputElement>("rig-file");
const fov = element<HTMLInputElement>("fov");
const family = element<HTMLSelectElement>("family");
const order = element<HTMLInputElement>("order");
const model = element<HTMLSelectElement>("model");
const refine = element<HTMLSelectElement>("refine");
const button = element<HTMLButtonElement>("stitch");
const status = element<HTMLParagraphElement>("status");
const progress = element<HTMLProgressElement>("progress");
const controls = element<HTMLDivElement>("controls");
const mix = element<HTMLInputElement>("mix");
const mixLabel = element<HTMLLabelElement>("mix-label");
const overlay = element<HTMLInputElement>("overlay");
const download = element<HTMLAnchorElement>("download");
const notes = element<HTMLUListElement>("notes");

let views: File[] = [];
let samples: api.Sample[] = [];
let running: AbortController | undefined;
const panorama = new Panorama(element("viewer"), () => ({
  mix: Number(mix.value),
  overlay: Number(overlay.value),
}));

function say(text: string, wrong = false): void {
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

function choose(chosen: File[]): void {
  views = chosen;
  button.disabled = views.length === 0;
  thumbnails.replaceChildren(
    ...views.map((view) => {
      const item = document.createElement("li");
      const figure = document.createElement("figure");
      const image = document.createElement("img");
      const caption = document.createElement("figcaption");
      image.alt = "";
      image.src = URL.createObjectURL(view);
      image.onload = () => URL.revokeObjectURL(image.src);
      caption.textContent = view.name;
      figure.append(image, caption);
      item.append(figure);
      return item;
    }),
  );
}

function settings(): api.Settings {
  const chosen: api.Settings = { model: model.value };
  if (refine.value) chosen.refine = refine.value;
  if (rig.value === UPLOAD) chosen.rigFile = rigFile.files?.[0];
  else if (rig.value === LENS) {
    chosen.fov = Number(fov.value);
    chosen.family = family.value;
    const names = order.value.split(",").map((name) => name.trim()).filter(Boolean);
    if (names.length) chosen.order = names.join(",");
  } else if (rig.value) chosen.rig = rig.value;
  return chosen;
}

function follow(job: api.Job, running = "stitching \u2026"): void {
  progress.hidden = false;
  if (job.state === "queued") {
    progress.value = 0.1;
    say(job.position > 1 ? `waiting: ${job.position - 1} before this one` : "next in line");
  } else if (job.state === "running") {
    progress.value = 0.5;
    say(running);
  }
}

async function picture(path: string): Promise<ImageBitmap> {
  return createImageBitmap(await (await api.answered(await fetch(path))).blob());
}

async function show(layers: Layers, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  controls.hidden = false;
  mixLabel.hidden = !layers.model;
  download.hidden = true;
  await panorama.show(layers);
}

/** Stitch what is chosen; a later call takes the place of an earlier one. */
async function stitch(preview: boolean): Promise<void> {
  if (!views.length) return;
  if (rig.value === UPLOAD && !rigFile.files?.length) return say("choose the file of your rig", true);
  running?.abort();
  const own = (running = new AbortController());
  const wanted = settings();
  try {
    const size = preview ? PREVIEW : undefined;
    const geometric = { ...wanted, model: GEOMETRIC, refine: wanted.refine ?? "gain", size };
    const first = await api.stitch(views, geometric, follow, own.signal);
    let last = first;
    const layers: Layers = {
      geometric: await picture(first.panorama!),
      count: await picture(first.count!),
    };
    if (!preview && wanted.model !== GEOMETRIC) {
      await show(layers, own.signal);
      const later = (job: api.Job): void => follow(job, "this is the geometric stitch; the model works \u2026");
      last = await api.stitch(views, wanted, later, own.signal);
      layers.model = await picture(last.panorama!);
    }
    if (own.signal.aborted) return;
    await show(layers, own.signal);
    download.hidden = false;
    download.href = last.panorama!;
    notes.replaceChildren(
      ...(last.notes ?? []).map((note) => {
        const item = document.createElement("li");
        item.textContent = note;
        return item;
      }),
    );
    say(preview ? "preview of the geometry; Stitch makes it whole" : `done in ${last.seconds?.toFixed(1)} s`);
  } catch (error) {
    if (own.signal.aborted) return;
    say(error instanceof api.ApiError ? error.message : "the server cannot be reached", true);
  } finally {
    if (running === own) progress.hidden = true;
  }
}

let resting: ReturnType<typeof setTimeout> | undefined;

/** The geometric stitch follows the lens while it is being set. */
function lensChanged(): void {
  element<HTMLOutputElement>("fov-value").value = `${fov.value}\u00b0`;
  clearTimeout(resting);
  resting = setTimeout(() => void stitch(true), SETTLED);
}

function rigChanged(): void {
  element("rig-file-row").hidden = rig.value !== UPLOAD;
  element("lens").hidden = rig.value !== LENS;
}

function options(select: HTMLSelectElement, named: [value: string, text: string][]): void {
  select.replaceChildren(...named.map(([value, text]) => new Option(text, value)));
}

async function start(): Promise<void> {
  const [known, rigs, made] = await Promise.all([api.models(), api.rigs(), api.samples()]);
  options(model, known.models.map((one) => [one.name, one.name === GEOMETRIC ? "none: geometric stitch" : one.name]));
  model.value = known.default;
  options(rig, [
    ["", "the model's own"],
    ...rigs.rigs.map((one): [string, string] => [one.name, `${one.name} (${one.views.join(", ")})`]),
    [UPLOAD, "a rig file \u2026"],
    [LENS, "by lens \u2026"],
  ]);
  samples = made.samples;
  options(sample, [["", "none"], ...samples.map((one): [string, string] => [one.name, one.name])]);
}

files.addEventListener("change", () => {
  sample.value = "";
  choose([...(files.files ?? [])]);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
drop.addEventListener("drop", (event) => choose([...(event.dataTransfer?.files ?? [])]));
sample.addEventListener("change", async () => {
  const chosen = samples.find((one) => one.name === sample.value);
  if (!chosen) return choose([]);
  say("rendering the sample …");
  try {
    choose(await api.sampleViews(chosen));
  } catch (error) {
    return say(error instanceof api.ApiError ? error.message : "the server cannot be reached", true);
  }
  rig.value = chosen.rig;
  rigChanged();
  await stitch(false);
});
rig.addEventListener("change", () => {
  rigChanged();
  if (rig.value === LENS) lensChanged();
});
for (const input of [fov, family, order]) input.addEventListener("input", lensChanged);
for (const slider of [mix, overlay]) slider.addEventListener("input", () => void panorama.redraw());
element("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  void stitch(false);
});

start().catch(() => say("the server cannot be reached", true));
