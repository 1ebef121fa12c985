"""The mean of a panorama over small rotations of it: what is to be expected where nobody knows how
the rig as a whole is turned.

Self-calibration tells the views' rotations from each other and nothing of their mean. Where N views
were each off by s per axis, it turns them by 3(N-1)s² in the sum of squares, and leaves s²/N per
axis of the whole open.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.special import ive
from torch import Tensor

from spidereye.panorama import pad_sphere

_MOST = 16.0  # pixels along a row: beside a pole a row is almost one direction


def unknown_rotation(turns: Float[Tensor, " N"]) -> float:
    """Radians per axis (standard deviation) of the rotation of the whole that is left open, from
    the angles by which self-calibration turned N views; 0 for one view."""
    count = len(turns)
    return math.sqrt(float(turns.square().sum()) / (3 * count * max(1, count - 1)))


def rotation_blur(panorama: Float[Tensor, "B C H W"], sigma: float) -> Float[Tensor, "B C H W"]:
    """The panorama averaged over rotations of `sigma` radians per axis: Gaussians along rows, wider
    towards the poles, and along columns.

    Discrete Gaussians, exp(-t)·I_n(t) with t = σ² in pixels (Lindeberg 1990), which blur by as much
    as they should also where σ is a fraction of a pixel.
    """
    if sigma == 0:
        return panorama
    height, width = panorama.shape[-2:]
    pixels = sigma * height / math.pi
    latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
    across = (pixels / latitude.cos()).clamp(max=_MOST).to(panorama)
    # The transform of exp(-t)·I_n(t) is exp(t·(cos k - 1)).
    waves = torch.arange(width // 2 + 1, device=panorama.device) * (2 * math.pi / width)
    damped = torch.exp(across.square()[:, None] * (waves.to(panorama).cos() - 1))
    rows = torch.fft.irfft(torch.fft.rfft(panorama) * damped, n=width)
    reach = min(height, math.ceil(1 + 4 * pixels))
    taps = ive(np.abs(np.arange(-reach, reach + 1)), pixels**2)
    kernel = torch.from_numpy(taps / taps.sum()).to(panorama)
    flat = pad_sphere(rows, reach)[..., reach:-reach].flatten(0, 1)[:, None]
    return F.conv2d(flat, kernel.view(1, 1, -1, 1)).view_as(panorama)
