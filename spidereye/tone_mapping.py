"""High dynamic range to eight bits: the one curve, for hdr and exr panoramas alike."""

import numpy as np
from jaxtyping import Float32, UInt8


def tone_map(radiance: Float32[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Linear RGB radiance, any scale, as 8-bit sRGB.

    Exposed so that the geometric mean of the luminance becomes 0.18, compressed by x / (1 + x)
    (Reinhard et al. 2002, Eqs. 1-3, per channel), then the sRGB transfer curve. In the mean no
    pixel counts as darker than 1/1000 of the average: a black patch at the nadir changes little.
    NaN and negative samples are black, infinite ones white.
    """
    linear = np.nan_to_num(radiance, nan=0.0, posinf=1e9, neginf=0.0).clip(0.0, 1e9)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    floor = max(1e-3 * float(luminance.mean(dtype=np.float64)), 1e-12)
    key = float(np.exp(np.log(luminance.clip(floor)).mean(dtype=np.float64)))
    linear *= 0.18 / key
    linear /= 1.0 + linear
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(curve * 255.0).astype(np.uint8)
