"""What the geometric stitch's defaults are picked by: kernels and blendings on real panoramas.

spider4 (f_pix_size 560), 128-px views rendered exactly from SPIDEREYE_SHARED/panoramas, stitched to
256x128: clean, under the jitter of evaluation, and under jitter after self-calibration. Means over
pictures of PSNR, aligned PSNR and seam error. Baseline: bilinear samples, feathered by the margin
to the rim alone. Settings are chosen on `train`; what they are worth is what `val` says.

    SPIDEREYE_SHARED=… python benchmarks/stitch_quality.py --split val
    … --split train --resolution-powers 0 1 2 4 6 --rims 0.05 0.1 0.2 0.4 --bands 3 4 5 6
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from machine import machine
from rich.console import Console
from rich.table import Table
from session import shared_panoramas
from torch import Tensor

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.metrics import aligned_psnr, psnr, seam_error
from spidereye.multiband import default_bands, multiband
from spidereye.panorama import panorama_rays
from spidereye.pictures import to_uint8
from spidereye.protocols import JITTER_PROTOCOL
from spidereye.push_pull import fill
from spidereye.render import RenderPlan, select
from spidereye.rig import Rig, spider4
from spidereye.self_calibration import self_calibrate
from spidereye.sources import SourceConfig, Split, open_source
from spidereye.view_sampling import KERNELS, Kernel, Points, pyramid, sample
from spidereye.view_weights import LEAST, RESOLUTION_POWER, RIM, clearance, resolution

WIDTH, HEIGHT = 256, 128
CASES = {
    "clean": None,
    "jitter": (),
    "jitter + gain": ("gain",),
    "jitter + gain + rotation": ("gain", "rotation"),
}
METRICS = ("PSNR", "aligned PSNR", "seam error")


@dataclass(frozen=True)
class Setting:
    """One way to stitch. blend: "feather", "multiband" or "none" (the view that has most say).
    power, rim: of the weights, see view_weights.py.   bands: of multiband."""

    kernel: Kernel
    blend: str
    power: float = RESOLUTION_POWER
    rim: float = RIM
    bands: int | None = None

    @property
    def name(self) -> str:
        detail = f"resolution^{self.power:g}, rim {self.rim:g}"
        if self.blend == "multiband":
            detail += f", {self.bands or default_bands(HEIGHT)} bands"
        return f"{self.blend}, {detail}"


@dataclass(frozen=True)
class Shot:
    """One picture's views, as a method gets them, and the truth."""

    views: list[Float[Tensor, "1 3 h w"]]
    cameras: tuple
    truth: Float[Tensor, "1 3 H W"]


@dataclass(frozen=True)
class Geometry:
    """Of one view: the panorama's rays in it, and what weights are made of."""

    pixels: Float[Tensor, "H W 2"]
    seen: Bool[Tensor, "H W"]
    clearance: Float[Tensor, "H W"]
    resolution: Float[Tensor, "H W"]

    @classmethod
    def of(cls, camera) -> "Geometry":
        rays = panorama_rays(HEIGHT, WIDTH)
        pixels, seen = camera.project(rays)
        return cls(pixels, seen, clearance(camera, pixels), resolution(camera, rays, pixels))

    def weight(self, power: float, rim: float) -> Float[Tensor, "H W"]:
        """`view_weights.blend_weight`, with the width of the rim to choose."""
        weight = (self.clearance / rim).clamp(LEAST, 1) * self.resolution**power * self.seen
        return weight.float()


def shots(
    root: Path, split: Split, rig: Rig, cases: Sequence[str], limit: int | None
) -> Iterator[dict[str, Shot]]:
    """Of every picture of a split, the shot of each case."""
    source = open_source(SourceConfig(root=str(root)), split)
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = PanoramaDataset(source, (WIDTH, HEIGHT), plan)
    for index in range(min(len(dataset), limit or len(dataset))):
        raw = dataset[index]
        made = {}
        for case in cases:
            refine = CASES[case]
            jitter = None if refine is None else JITTER_PROTOCOL
            batch = Renderer(rig, plan, source.names, jitter=jitter)([raw])
            views = [view.contiguous() for view in batch.views.unbind(1)]
            cameras = tuple(select(camera, 0) for camera in batch.cameras)
            if refine:
                calibrated = self_calibrate(views, cameras, refine)
                views, cameras = calibrated.views, calibrated.cameras
            made[case] = Shot(views, cameras, batch.panorama)
        yield made


def warp(
    shot: Shot, geometry: list[Geometry], kernel: Kernel
) -> Float[Tensor, "N 1 3 {HEIGHT} {WIDTH}"]:
    """Every view as a panorama; what lies outside what it sees does not matter."""
    made = []
    for view, camera, there in zip(shot.views, shot.cameras, geometry, strict=True):
        flat = there.pixels.reshape(-1, 2)
        points = Points(flat, None, torch.zeros_like(flat[:, 0]))
        colours = sample(pyramid(view, camera.mask(), 1), points, kernel)
        made.append(colours.unflatten(-1, (HEIGHT, WIDTH)).float())
    return torch.stack(made)


def blended(
    warped: Float[Tensor, "N 1 3 H W"], geometry: list[Geometry], setting: Setting
) -> Float[Tensor, "1 3 H W"]:
    """The panorama by one setting."""
    weight = torch.stack([g.weight(setting.power, setting.rim) for g in geometry])[:, None, None]
    if setting.blend == "multiband":
        made = multiband(warped, weight, setting.bands)
    else:
        if setting.blend == "none":
            weight = (weight == weight.amax(0)) * (weight > 0).float()
        total = weight.sum(0)
        made = torch.where(weight > 0, warped * weight, 0).sum(0) / total.clamp_min(1e-30)
    seen = torch.stack([g.seen for g in geometry]).any(0)
    return fill(made, seen[None, None])


def scores(made: Float[Tensor, "1 3 H W"], truth: Float[Tensor, "1 3 H W"]) -> dict[str, float]:
    """METRICS of one picture, of 8 bits like every metric."""
    a, b = to_uint8(made).double() / 255, to_uint8(truth).double() / 255
    values = (psnr(a, b), aligned_psnr(a, b), seam_error(a))
    return {name: float(value) for name, value in zip(METRICS, values, strict=True)}


def settings(arguments: argparse.Namespace) -> list[Setting]:
    """The default comparison, and what the options ask for in addition, each once."""
    chosen = []
    for kernel in KERNELS:
        chosen += [Setting(kernel, "feather", power=0), Setting(kernel, "feather")]
        chosen += [Setting(kernel, "multiband"), Setting(kernel, "none")]
    chosen += [Setting("lanczos", "feather", power) for power in arguments.resolution_powers]
    chosen += [Setting("lanczos", "feather", rim=rim) for rim in arguments.rims]
    for bands in arguments.bands:
        chosen += [Setting("lanczos", "multiband", bands=bands)]
    for power in arguments.multiband_powers:
        chosen += [Setting("lanczos", "multiband", power)]
    return list(dict.fromkeys(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--resolution-powers", type=float, nargs="*", default=[])
    parser.add_argument("--rims", type=float, nargs="*", default=[])
    parser.add_argument("--bands", type=int, nargs="*", default=[])
    parser.add_argument("--multiband-powers", type=float, nargs="*", default=[])
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--limit", type=int, help="pictures, the first ones; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/stitch_quality.json"))
    arguments = parser.parse_args()
    data = shared_panoramas()
    rig = spider4(220 * 128 / 560, 0.85, 128)
    nominal = [Geometry.of(camera) for camera in rig.cameras]
    chosen = settings(arguments)
    found: dict[tuple[str, Setting], list[dict[str, float]]] = {}
    seconds: dict[Setting, list[float]] = {}
    pictures = 0
    with torch.inference_mode():
        root, cases = data, arguments.cases
        for made in shots(root, arguments.split, rig, cases, arguments.limit):
            pictures += 1
            for case, shot in made.items():
                turned = "rotation" in (CASES[case] or ())
                geometry = [Geometry.of(c) for c in shot.cameras] if turned else nominal
                warped = {kernel: warp(shot, geometry, kernel) for kernel in KERNELS}
                for setting in chosen:
                    start = time.process_time()
                    panorama = blended(warped[setting.kernel], geometry, setting)
                    seconds.setdefault(setting, []).append(time.process_time() - start)
                    found.setdefault((case, setting), []).append(scores(panorama, shot.truth))
    about = {**machine(threads=torch.get_num_threads()), "split": arguments.split,
             "pictures": str(pictures), "views": "128 px",
             "panorama": f"{WIDTH}x{HEIGHT}"}  # fmt: skip
    rows = [
        {"case": case, "kernel": setting.kernel, "blending": setting.name,
         "blending_ms": 1000 * statistics.median(seconds[setting]),
         **{name: statistics.fmean(one[name] for one in values) for name in METRICS}}
        for (case, setting), values in found.items()
    ]  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    console = Console(width=170)
    console.print(", ".join(f"{key} {value}" for key, value in about.items()))
    table = Table(title="PSNR / aligned PSNR in dB / seam error in levels, means over pictures")
    for column in ("kernel", "blending", *arguments.cases, "blending ms"):
        table.add_column(column)
    for setting in chosen:
        cells = [
            " / ".join(f"{statistics.fmean(v[name] for v in found[case, setting]):.2f}"
                       for name in METRICS)
            for case in arguments.cases
        ]  # fmt: skip
        time_taken = f"{1000 * statistics.median(seconds[setting]):.0f}"
        table.add_row(setting.kernel, setting.name, *cells, time_taken)
    console.print(table)


if __name__ == "__main__":
    main()
