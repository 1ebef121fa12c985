"""How well rendered views agree with the exact mean over each pixel, on real panoramas.

Part of benchmarks/data.py, which runs and prints it.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.panorama import sample_panorama
from spidereye.pictures import to_float, to_uint8
from spidereye.render import QUALITIES, Quality, RenderPlan, render_each
from spidereye.rig import Rig
from spidereye.sources import SourceConfig, open_source
from spidereye.stitching import stitch

TARGET = (256, 128)


def reference(panorama: Tensor, rig: Rig, points: int) -> tuple[Tensor, Tensor]:
    """Views [N, 3, h, w] in float64 by points² bilinear samples per pixel, and their masks."""
    views, masks = [], []
    for camera in rig.cameras:
        grid, rows = camera.pixel_grid(points), []
        for strip in grid.split(2**19 // (points * grid.shape[1]) * points or points):
            rays, valid = camera.unproject(strip)
            colours = sample_panorama(panorama[None], rays[None])[0] * valid
            tiles = torch.cat((colours, valid[None].double())).unfold(1, points, points)
            mean = tiles.unfold(2, points, points).mean(dim=(-1, -2))
            rows.append(mean[:3] / mean[3:].clamp_min(1e-9))
        views.append(torch.cat(rows, dim=1))
        masks.append(camera.mask())
    return torch.stack(views), torch.stack(masks)


def psnr(made: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Over the masked pixels, in dB for a range of 2."""
    error = (made.double() - truth).square().mean(dim=1)[mask].mean()
    return float(10 * torch.log10(4 / error))


def quality(paths: Sequence[Path], rig: Rig, folder: Path) -> dict[str, list[float]]:
    """PSNR of every panorama's views: as batches have them, reduced decode and 8-bit rounding
    included, without either, and of point sampling."""
    scores: dict[str, list[float]] = {}
    (folder / "val").mkdir(parents=True)
    for path in paths:
        (folder / "val" / path.name).symlink_to(path.resolve())
    source = open_source(SourceConfig(root=str(folder)), "val")
    for index in range(len(source)):
        panorama = torch.from_numpy(source.panorama(index)).permute(2, 0, 1)
        truth, mask = reference(panorama.double() / 127.5 - 1, rig, 16)
        for how in QUALITIES:
            plan = RenderPlan.for_cameras(rig.cameras, how)
            batch = Renderer(rig, plan, source.names)(
                [PanoramaDataset(source, TARGET, plan)[index]]
            )
            scores.setdefault(how, []).append(psnr(batch.views[0], truth, mask))
            made = render_each(to_float(panorama)[None], rig.cameras, how)
            views = torch.cat([view for view, _ in made])
            scores.setdefault(f"{how}, whole panorama, floats", []).append(psnr(views, truth, mask))
        rays = torch.stack([camera.unproject(camera.pixel_grid())[0] for camera in rig.cameras])
        flat = rays.float().flatten(0, 1)[None]
        points = sample_panorama(to_float(panorama)[None], flat)[0].unflatten(1, rays.shape[:2])
        scores.setdefault("point sampling", []).append(psnr(points.transpose(0, 1), truth, mask))
    return scores


def stitch_psnr(root: Path, rig: Rig, how: Quality) -> float:
    """Mean PSNR of the geometric stitch of clean 8-bit views, over the validation split."""
    source = open_source(SourceConfig(root=str(root)), "val")
    plan = RenderPlan.for_cameras(rig.cameras, how)
    dataset, render = PanoramaDataset(source, TARGET, plan), Renderer(rig, plan, source.names)
    scores = []
    for index in range(len(dataset)):
        batch = render([dataset[index]])
        made = stitch(batch.views.unbind(1), rig.cameras, *batch.panorama.shape[-2:]).panorama
        error = (to_uint8(made).double() - to_uint8(batch.panorama).double()).square().mean()
        scores.append(float(10 * torch.log10(255**2 / error)))
    return statistics.mean(scores)
