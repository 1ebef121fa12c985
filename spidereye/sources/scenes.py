"""The built-in procedural scenes as a source: panoramas that need no download."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import count as numbers
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError
from spidereye.panorama import panorama_rays
from spidereye.scenes.scene import LOOKS, Scene
from spidereye.sources.source import Origin

_SPLIT_NUMBER = {"train": 0, "val": 1}
_NEAR_NUMBER = {"val": 2, "train": 3}
NEAR_RANGE = (1.0, 1.5)  # metres
_FLOOR = -1.3  # metres: floors and grounds lie lower
_USUAL_WIDTH = 512  # pixels; scenes have no size of their own, this is for callers without one


class SceneSource:
    """`count` scenes drawn from (seed, split, index): no two splits, no two indices share one.

    A rendered panorama is kept in memory for the next epoch; those used longest ago are dropped
    once all of them take more than cache_bytes (each process has a cache of its own).
    """

    def __init__(
        self,
        split: Literal["train", "val"],
        count: int,
        seed: int = 0,
        cache_bytes: int = 2**28,
    ) -> None:
        if count < 1 or seed < 0:
            raise SpiderEyeError(
                f"procedural scenes need a positive number of scenes and a seed of 0 or more, got "
                f"{count} and {seed}; set dataset.scene_count_{split} and seed"
            )
        self._key = (seed, _SPLIT_NUMBER[split])
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[tuple[int, int], UInt8[np.ndarray, "H W 3"]] = OrderedDict()
        self.names: Sequence[str] = [f"scene-{split}-{index:05d}" for index in range(count)]

    def __len__(self) -> int:
        return len(self.names)

    def scene(self, index: int) -> Scene:
        """Scene `index` (0 … len-1), for rendering from other places than its centre."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        return Scene.random((*self._key, index))

    def origin(self, index: int) -> Origin:
        """What the scene is drawn from."""
        return Origin(f"scene {(*self._key, index)}", f"looks {LOOKS}")

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` as 8-bit RGB, min_width pixels wide (rounded up to even; 0 gives 512).

        The array is the caller's own, not the cache's.
        """
        width = min_width + min_width % 2 or _USUAL_WIDTH
        key = (index, width)
        if key not in self._cache:
            self._cache[key] = self.scene(index).panorama(width)
            while (
                len(self._cache) > 1
                and sum(kept.nbytes for kept in self._cache.values()) > self._cache_bytes
            ):
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key].copy()


class NearScenes:
    """`count` scenes in which the nearest object is 1 to 1.5 m away, and nothing is nearer: for
    views whose cameras do not stand at the panorama's centre.

    They share no scene with any other source's, and scene i is the same however many there are.
    split: "val" of the protocol parallax, or "train".
    """

    def __init__(self, count: int, seed: int = 0, split: Literal["train", "val"] = "val") -> None:
        self._key = (seed, _NEAR_NUMBER[split])
        self._count = count

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """Of scene `index`."""
        return f"near-scene-{index:05d}"

    def scene(self, index: int) -> Scene:
        """Scene `index` (0 … len-1): of the scenes drawn for it, the first that is near enough
        and not too near. About two in five are."""
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        drawn = (Scene.random((*self._key, index, again)) for again in numbers())
        return next(scene for scene in drawn if _is_near(scene))


def _is_near(scene: Scene) -> bool:
    """By the depth of a panorama 256 pixels wide; the floor is no object."""
    depth = scene.panorama_depth(256)
    height = panorama_rays(128, 256, dtype=torch.float32)[..., 1].numpy()
    below = np.where(np.isinf(depth), 0.0, depth) * height
    objects = depth[below > _FLOOR]
    return bool(depth.min() >= NEAR_RANGE[0] and objects.min() <= NEAR_RANGE[1])
