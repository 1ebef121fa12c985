"""Random draws that depend on what they are for, never on the order in which they are made.

Every draw of the project comes from a generator seeded by (seed, stream name, keys…), for example
the sample's index and the epoch. So the same sample gets the same jitter and noise whatever the
batch size, the number of workers and processes, or the step at which a run was resumed.
"""

import zlib

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def generator(seed: int, stream: str, *keys: int) -> torch.Generator:
    """A CPU generator for one purpose. stream: its name.   keys: e.g. (epoch, index), all ≥ 0."""
    # The number of keys belongs to it: a seed sequence takes (1,) and (1, 0) for the same.
    entropy = (seed, zlib.crc32(stream.encode()), len(keys), *keys)
    # 32 bits, because that is all that a CPU generator takes from its seed.
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint32)
    return torch.Generator().manual_seed(int(state[0]))


def normal(
    seed: int, stream: str, keys: list[tuple[int, ...]], shape: tuple[int, ...]
) -> Float[Tensor, "B *s"]:
    """Standard normal draws on the CPU, one independent row of `shape` per key."""
    made = (generator(seed, stream, *key) for key in keys)
    return torch.stack([torch.randn(shape, generator=g, dtype=torch.float32) for g in made])
