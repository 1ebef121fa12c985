"""Shots of a rig in a made world: coloured noise of several sizes, sharp enough to compare."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from spidereye.camera import Camera
from spidereye.render import render_each
from spidereye.rig import Rig, spider4
from spidereye.rotation import angle_between, from_degrees

SIZE = 96


def small_rig() -> Rig:
    return spider4(f=220 * SIZE / 560, xi=0.85, size=SIZE)


def world(seed: int, contrast: float = 0.5) -> torch.Tensor:
    """A panorama [1, 3, 128, 256] in [-1, 1]."""
    source = torch.Generator().manual_seed(seed)
    made = torch.zeros(1, 3, 128, 256)
    for rows, share in ((8, 1.0), (20, 0.6), (50, 0.3)):
        noise = torch.randn(1, 3, rows, 2 * rows, generator=source)
        made += share * F.interpolate(noise, (128, 256), mode="bicubic")
    return (contrast * made / 2).clamp(-0.95, 0.95)


def shaken(rig: Rig, seed: int, degrees: float = 3.0, zoom: float = 1.0) -> Rig:
    """The rig with every view turned by up to ± degrees about each axis, and f times zoom."""
    source = torch.Generator().manual_seed(seed)
    cameras = []
    for camera in rig.cameras:
        angles = degrees * (2 * torch.rand(3, generator=source, dtype=torch.float64) - 1)
        turned = camera.rotation @ from_degrees(*angles.tolist())
        cameras.append(replace(camera, rotation=turned, lens=camera.lens.zoomed(zoom)))
    return replace(rig, cameras=tuple(cameras))


def taken(panorama: torch.Tensor, rig: Rig, seed: int | None = None) -> list[torch.Tensor]:
    """The rig's views [1, 3, h, w], of 8 bits; with a seed each has an exposure of its own."""
    views = [view for view, _ in render_each(panorama, rig.cameras, "exact")]
    if seed is not None:
        source = torch.Generator().manual_seed(seed)
        for number, view in enumerate(views):
            gain = 0.8 + 0.4 * torch.rand(3, 1, 1, generator=source)
            offset = 0.2 * torch.rand(3, 1, 1, generator=source) - 0.1
            views[number] = view * gain + offset
    return [(view.clamp(-1, 1) * 127.5).round() / 127.5 for view in views]


def relative_errors(one: Sequence[Camera], other: Sequence[Camera]) -> torch.Tensor:
    """Degrees by which the rotations between views differ, of every pair."""
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    found = [
        angle_between(one[i].rotation.T @ one[j].rotation, other[i].rotation.T @ other[j].rotation)
        for i, j in pairs
    ]
    return torch.rad2deg(torch.stack(found))
