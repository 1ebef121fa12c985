"""The verb behind `spidereye views`: a rig's views of panoramas, as picture files.

For each panorama `<stem>_<view>.png`, or `<stem>_<view>+<view>.png` where views are crops of one
file; once for all panoramas `<view>_mask.png` (white is picture), `rig.yaml` with the cameras of
these views, and `views.json` with what they were made with. A file newer than its panorama and than
`views.json` is done: the same command goes on where it was stopped, another one starts anew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.picture_paths import matching_pictures, names_a_file
from spidereye.picture_writing import write_picture as write
from spidereye.pictures import PictureError, read_picture, resize_area, to_float, to_uint8
from spidereye.precision import device_named
from spidereye.progress import progress
from spidereye.render import Quality, render_each
from spidereye.resuming import is_done, started
from spidereye.rig import Rig, fingerprint
from spidereye.rig_files import write_rig
from spidereye.sources.folder import complaint
from spidereye.whole_files import lies_in, write_whole

_FORMAT = 1  # of views.json; another one makes everything anew


@dataclass(frozen=True)
class ViewFile:
    """A file that holds one view, or several that are crops of it.

    parts: (number of the view in the rig, left, top) of each.
    """

    name: str
    width: int
    height: int
    parts: tuple[tuple[int, int, int], ...]

    def assembled(self, views: Sequence[tuple[Tensor, Tensor]]) -> UInt8[np.ndarray, "H W 3"]:
        """The file's picture of the rig's (view [1, 3, h, w], mask [1, h, w]), black around."""
        picture = np.zeros((self.height, self.width, 3), np.uint8)
        for number, left, top in self.parts:
            view, mask = _array(views[number][0]), views[number][1][0].cpu().numpy()
            there = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
            there[mask] = view[mask]  # crops may overlap outside their circles
        return picture


@dataclass(frozen=True)
class Rendered:
    """panoramas: how many were rendered now.   before: were done already.   files: per panorama."""

    folder: Path
    panoramas: int
    before: int
    files: int

    def line(self) -> str:
        """What was done, for people."""
        before = f"; {self.before} panoramas were done already" if self.before else ""
        count = self.panoramas * self.files
        panoramas = f"{self.panoramas} panorama{'s' * (self.panoramas != 1)}"
        return f"{self.folder}: {count} pictures of {panoramas}{before}"


def render_files(
    names: Sequence[str],
    rig: Rig,
    folder: Path,
    quality: str = "exact",
    suffix: str = ".png",
    device: str = "cpu",
) -> Rendered:
    """Render the rig's views of panoramas into a folder, at the sizes of its lenses.

    names: panorama files, folders, patterns.   quality: of render.Quality.
    suffix: .png or .jpg, of the views; masks are PNG.
    Raises SpiderEyeError before any work for names that stand for nothing, pictures that are no
    panoramas and outputs in each other's way; at the end for panoramas that turned out damaged.
    Raises Interrupt after Ctrl-C, with the panorama at hand finished.
    """
    if quality not in get_args(Quality):
        raise SpiderEyeError(f"quality is {' or '.join(get_args(Quality))}, got {quality!r}")
    if suffix not in (".png", ".jpg"):
        raise SpiderEyeError(f"the views' format is png or jpg, got {suffix.removeprefix('.')!r}")
    where = device_named(device)
    wanted: Quality = "exact" if quality == "exact" else "training"
    panoramas = matching_pictures(names)
    files, rig = _layout(rig)
    outputs = _outputs(panoramas, files, folder, suffix)
    bad = [trouble.text for trouble in map(complaint, panoramas) if trouble is not None]
    if bad:
        raise SpiderEyeError(_listed("cannot be rendered; mend them or leave them out", bad))
    since = _settle(rig, files, folder, {"quality": quality, "suffix": suffix})
    todo = [path for path in panoramas if not is_done(outputs[path], [path], since)]
    done = len(panoramas) - len(todo)
    with stop_after_step() as stop, progress("views", len(panoramas), done) as meter:
        for number, path in enumerate(todo):
            if stop.requested:
                raise Interrupt(
                    f"stopped with {done + number - len(bad)} of {len(panoramas)} panoramas "
                    f"done in {folder}; the same command goes on"
                )
            try:
                panorama = _read(path).to(where)
            except PictureError as error:  # the header was sound, the rest is not
                bad.append(str(error))
                continue
            with torch.inference_mode():
                views = render_each(panorama, rig.cameras, wanted)
            for file, output in zip(files, outputs[path], strict=True):
                write(output, file.assembled(views))
            meter.advance(say=path.name)
    if bad:
        raise SpiderEyeError(_listed("could not be rendered, all others are done", bad))
    return Rendered(folder, len(todo), done, len(files))


def _layout(rig: Rig) -> tuple[list[ViewFile], Rig]:
    """The files of one shot, and the rig with its cameras at the sizes they have in these files."""
    cameras: list[Camera] = []
    shared: dict[int, list[tuple[int, int, int]]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    files: list[ViewFile] = []
    for number, camera in enumerate(rig.cameras):
        if not names_a_file(camera.name):
            raise SpiderEyeError(f"view {camera.name!r}: this name cannot be part of a file's name")
        crop = camera.crop
        if crop is None:
            cameras.append(camera)
            size = camera.lens.width, camera.lens.height
            files.append(ViewFile(camera.name, *size, ((number, 0, 0),)))
            continue
        size = crop.file_width, crop.file_height
        if sizes.setdefault(crop.file, size) != size:
            raise SpiderEyeError(
                f"file {crop.file} of the rig is {size[0]}x{size[1]} pixels for view {camera.name} "
                f"and {sizes[crop.file][0]}x{sizes[crop.file][1]} for another"
            )
        cameras.append(camera.resized(crop.width, crop.height))
        shared.setdefault(crop.file, []).append((number, crop.left, crop.top))
    for key, parts in sorted(shared.items()):
        name = "+".join(rig.cameras[number].name for number, _, _ in parts)
        files.append(ViewFile(name, *sizes[key], tuple(parts)))
    return files, Rig(tuple(cameras), rig.sphere_radius)


def _outputs(
    panoramas: Sequence[Path], files: Sequence[ViewFile], folder: Path, suffix: str
) -> dict[Path, list[Path]]:
    """Each panorama's output files. Raises SpiderEyeError where one would overwrite another or a
    mask, or where the folder holds panoramas: the next run would take the views for some."""
    outputs: dict[Path, list[Path]] = {}
    taken = {folder / f"{file.name}_mask.png": "a mask" for file in files}
    for path in panoramas:
        if lies_in(path, folder):
            raise SpiderEyeError(f"{path} lies in the output folder {folder}; choose another -o")
        outputs[path] = [folder / f"{path.stem}_{file.name}{suffix}" for file in files]
        for output in outputs[path]:
            if output in taken:
                raise SpiderEyeError(
                    f"{output} for {path} would overwrite that of {taken[output]}; render them "
                    "into different folders or rename one"
                )
            taken[output] = str(path)
    return outputs


def _settle(rig: Rig, files: Sequence[ViewFile], folder: Path, settings: dict[str, str]) -> int:
    """Write masks, rig.yaml and views.json where the folder's are not of these settings; the time
    in ns since when outputs in the folder are of them."""
    record = folder / "views.json"
    text = json.dumps({"format": _FORMAT, **settings, "rig": fingerprint(rig)}, indent=2) + "\n"
    masks = [folder / f"{file.name}_mask.png" for file in files]
    since = started(record, text)
    if since is not None and all(path.exists() for path in (*masks, folder / "rig.yaml")):
        return since
    seen = [camera.mask()[None] for camera in rig.cameras]
    white = [(torch.where(mask, 1.0, -1.0)[:, None].expand(1, 3, -1, -1), mask) for mask in seen]
    for path, file in zip(masks, files, strict=True):
        write(path, file.assembled(white))
    write_rig(rig, folder / "rig.yaml")
    write_whole(record, text)
    return record.stat().st_mtime_ns


def _read(path: Path) -> Float[Tensor, "1 3 H W"]:
    """The panorama at its own resolution, made exactly 2:1 where it is so only to a pixel."""
    picture = read_picture(path)
    height, width = picture.shape[:2]
    if width != 2 * height:
        picture = resize_area(picture, 2 * height, height)
    return to_float(torch.from_numpy(picture).permute(2, 0, 1))[None]


def _array(view: Float[Tensor, "1 3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.ascontiguousarray(to_uint8(view[0]).permute(1, 2, 0).cpu().numpy())


def _listed(what: str, bad: Sequence[str]) -> str:
    if len(bad) == 1:
        return f"{bad[0]}; it {what.replace('them', 'it')}"
    return "\n  ".join([f"{len(bad)} panoramas {what}:", *bad])
