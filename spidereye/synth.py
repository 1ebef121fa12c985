"""The verb behind `spidereye data synth`: procedural panoramas, and views with true parallax.

    DIR/train/scene-00000.png                panoramas; val/ likewise; dataset.root is DIR
    DIR/views/train/scene-00000/front.png    with a rig: its views, each from its own position
    DIR/views/rig.yaml                       and the rig that made them
    DIR/depth/train/scene-00000.png          with depth: metres along the ray, of the panorama …
    DIR/depth/train/scene-00000/front.png    … and of each view
    DIR/synth.json                           what all of it was made with

Depth is float32 (.npy: metres, inf for sky, NaN outside a view's mask) or 16-bit PNG (millimetres
up to 65.534 m, 65535 for what is farther and for sky, 0 outside a view's mask). Scene i of a split
is the one that dataset.type=scenes shows for the same seed.

A file appears whole or not at all, so what is there is done: the same command goes on where it was
stopped, and a larger n adds to it.
"""

import json
import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image

from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt, StopRequest, stop_after_step
from spidereye.picture_paths import names_a_file
from spidereye.picture_writing import write_picture
from spidereye.pictures import to_uint8
from spidereye.progress import progress
from spidereye.rig import Rig, fingerprint
from spidereye.rig_files import write_rig
from spidereye.scenes.parts import CLEARANCE
from spidereye.scenes.scene import LOOKS
from spidereye.scenes.views import render_rig, view_depth
from spidereye.sources.scenes import SceneSource
from spidereye.whole_files import unwritable, whole_file, write_whole

Split = Literal["train", "val"]
_SPARE = 0.2  # metres that things are farther away from a camera than nothing
_FARTHEST = 65534  # millimetres


@dataclass(frozen=True)
class Synthesis:
    """What to make. width: pixels of a panorama, even. rig: None for panoramas alone.
    depth: "npy", "png" or "" for none."""

    folder: Path
    n: int
    val: int = 12
    width: int = 1024
    rig: Rig | None = None
    seed: int = 0
    depth: str = ""

    def __post_init__(self) -> None:
        if self.n < 0 or self.val < 0 or self.n + self.val < 1 or self.seed < 0:
            raise SpiderEyeError(
                f"n, val and seed are 0 or more and there is at least one scene, got n={self.n}, "
                f"val={self.val}, seed={self.seed}"
            )
        if self.width < 16 or self.width % 2:
            raise SpiderEyeError(f"a panorama's width is even, 16 pixels or more: not {self.width}")
        if self.depth not in ("", "npy", "png"):
            raise SpiderEyeError(f"depth is npy or png, got {self.depth!r}")
        for camera in () if self.rig is None else self.rig.cameras:
            away = float(torch.linalg.vector_norm(camera.position))
            if away > CLEARANCE - _SPARE:
                raise SpiderEyeError(
                    f"view {camera.name} stands {away:g} m from the centre, but scenes are free of "
                    f"things only so far that {CLEARANCE - _SPARE:g} m are possible; choose a "
                    "smaller --baseline or move the rig's cameras"
                )
            if not names_a_file(camera.name):
                raise SpiderEyeError(
                    f"view {camera.name!r}: this name cannot be a file's name; change it in the rig"
                )

    def files(self, split: Split, index: int) -> list[Path]:
        """All that one scene becomes: the panorama, its depth, the views, their depths."""
        stem, folder = f"scene-{index:05d}", self.folder
        names = () if self.rig is None else self.rig.names
        files = [folder / split / f"{stem}.png"]
        files += [folder / "views" / split / stem / f"{name}.png" for name in names]
        if self.depth:
            files.append(folder / "depth" / split / f"{stem}.{self.depth}")
            files += [folder / "depth" / split / stem / f"{name}.{self.depth}" for name in names]
        return files

    def settings(self) -> dict[str, Any]:
        """What must be the same for files to belong together."""
        made_with = {"seed": self.seed, "width": self.width, "depth": self.depth, "looks": LOOKS}
        return made_with | {"rig": "" if self.rig is None else fingerprint(self.rig)}


def synthesise(wanted: Synthesis, jobs: int = 1) -> str:
    """Make what is missing with `jobs` processes; a line that says what is there now.

    The pictures do not depend on jobs. Raises SpiderEyeError where the folder holds scenes of other
    settings or cannot be written, Interrupt after Ctrl-C, with the scenes at hand finished.
    """
    if jobs < 1:
        raise SpiderEyeError(f"jobs is 1 or more, got {jobs}")
    _settle(wanted)
    counts: dict[Split, int] = {"train": wanted.n, "val": wanted.val}
    all_scenes: list[tuple[Split, int]] = [
        (split, index) for split, count in counts.items() for index in range(count)
    ]
    todo = [
        scene for scene in all_scenes if not all(file.exists() for file in wanted.files(*scene))
    ]
    before = done = len(all_scenes) - len(todo)
    with stop_after_step() as stop, progress("scenes", len(all_scenes), done) as meter:
        run = _one_by_one if jobs == 1 or len(todo) < 2 else _in_processes
        for split, index in run(wanted, todo, min(jobs, len(todo)), stop):
            done += 1
            meter.advance(say=f"{split} {index}")
    if done < len(all_scenes):
        raise Interrupt(
            f"stopped with {done} of {len(all_scenes)} scenes in {wanted.folder}; the same command "
            "goes on"
        )
    kept = f", {before} of them made before" if before else ""
    return f"{wanted.folder}: {wanted.n} scenes in train/, {wanted.val} in val/{kept}"


def make_scene(wanted: Synthesis, split: Split, index: int) -> None:
    """Write all files of one scene. The panorama comes last: it is what makes the scene count."""
    scene = SceneSource(split, index + 1, wanted.seed).scene(index)
    panorama, *others = wanted.files(split, index)
    cameras = () if wanted.rig is None else wanted.rig.cameras
    views, depths = others[: len(cameras)], others[len(cameras) :]
    for path, view in zip(views, render_rig(scene, cameras), strict=True):
        write_picture(path, to_uint8(view).permute(1, 2, 0).contiguous().numpy())
    if depths:
        _write_depth(depths[0], scene.panorama_depth(wanted.width))
    for path, camera in zip(depths[1:], cameras, strict=False):
        _write_depth(path, view_depth(scene, camera))
    write_picture(panorama, scene.panorama(wanted.width))


def read_depth(path: Path) -> Float32[np.ndarray, "h w"]:
    """Metres of a depth file of either kind: inf for sky and beyond range, NaN outside a mask."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    stored = np.asarray(Image.open(path)).astype(np.float32)
    metres = np.where(stored > _FARTHEST, np.float32(np.inf), stored / np.float32(1000))
    return np.where(stored == 0, np.float32(np.nan), metres)


def _write_depth(path: Path, depth: Float32[np.ndarray, "h w"]) -> None:
    try:
        with whole_file(path) as file:
            if path.suffix == ".npy":
                np.save(file, depth, allow_pickle=False)
            else:
                millimetres = np.rint(1000 * depth.astype(np.float64))
                stored = np.where(millimetres > _FARTHEST, _FARTHEST + 1, millimetres.clip(1))
                stored = np.where(np.isnan(depth), 0, stored).astype(np.uint16)
                Image.fromarray(stored).save(file, format="PNG")
    except OSError as error:
        raise unwritable(path, error) from error


def _settle(wanted: Synthesis) -> None:
    """Write synth.json and the rig; refuse a folder with scenes that were made otherwise."""
    record, settings = wanted.folder / "synth.json", wanted.settings()
    try:
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            differs = [key for key in settings if found.get(key) != settings[key]]
            if differs:
                raise SpiderEyeError(
                    f"{wanted.folder} holds scenes made with another "
                    f"{', '.join(differs)} ({record.name}); choose another -o or remove it"
                )
            return
        first = [*wanted.files("train", 0), *wanted.files("val", 0)]
        there = next((file for file in first if file.exists()), None)
        if there is not None:
            raise SpiderEyeError(f"{there} is there, but no {record}; choose another -o")
        wanted.folder.mkdir(parents=True, exist_ok=True)
        if wanted.rig is not None:
            (wanted.folder / "views").mkdir(exist_ok=True)
            write_rig(wanted.rig, wanted.folder / "views" / "rig.yaml")
        write_whole(record, json.dumps(settings, indent=2) + "\n")
    except (OSError, ValueError, AttributeError) as error:
        raise SpiderEyeError(
            f"{record} cannot be read or written: {error}; choose another -o"
        ) from error


def _one_by_one(
    wanted: Synthesis, todo: Sequence[tuple[Split, int]], jobs: int, stop: StopRequest
) -> Iterator[tuple[Split, int]]:
    for scene in todo:
        if stop.requested:
            return
        make_scene(wanted, *scene)
        yield scene


def _in_processes(
    wanted: Synthesis, todo: Sequence[tuple[Split, int]], jobs: int, stop: StopRequest
) -> Iterator[tuple[Split, int]]:
    """The scenes as they are finished. After Ctrl-C those begun are finished, no more are begun."""
    waiting = iter(todo)
    # As bytes: PyTorch would hand each tensor over in shared memory, with a file open for it.
    packed = pickle.dumps(wanted)
    # Spawned: a fork of a process that has used PyTorch's threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        running: dict[Future[None], tuple[Split, int]] = {}
        try:
            while True:
                while len(running) < jobs and not stop.requested:
                    scene = next(waiting, None)
                    if scene is None:
                        break
                    running[pool.submit(_make_pickled, packed, *scene)] = scene
                if not running:
                    return
                # The timeout lets Python see signals.
                finished = wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done
                for future in finished:
                    scene = running.pop(future)
                    future.result()
                    yield scene
        except BrokenProcessPool as error:
            raise SpiderEyeError(
                f"a process that made scenes ended, perhaps for want of memory; the same command "
                f"goes on, with fewer than --jobs {jobs} it needs less"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _make_pickled(wanted: bytes, split: Split, index: int) -> None:
    make_scene(pickle.loads(wanted), split, index)


def _start_worker() -> None:
    """Ctrl-C is the main process's affair; one thread each, or they fight for the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
