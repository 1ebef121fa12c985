"""Rigs as YAML files of ours: reading, with the line of every mistake, and writing.

    spidereye_rig: 1
    sphere_radius: .inf               # metres; optional
    views:
    - name: front
      lens: {model: ucm, width: 560, height: 560, fx: 220, xi: 0.85}
      rotation: {yaw: 0, pitch: 0, roll: 0}    # degrees, or matrix: 3x3, camera to world
      position: [0, 0, 0]             # metres; optional
      circle: inscribed               # or diagonal, none, a radius in pixels; or fov: degrees
      mask: front_mask.png            # optional; black hides. Beside this file
      crop: {file: 0, left: 0, top: 0, width: 560, height: 560, file_width: 1120, file_height: 560}

A lens has fx, fy (fx), cx, cy (the picture's middle), skew (0) and its model's parameters, or
`matrix` (2x2) for fx, fy and skew; ocam has c, d, e (1, 0, 0) as OCamCalib has them. A lens that
several views share is given once, as `&lens`, and called `*lens`.
"""

import io
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from spidereye import rotation
from spidereye.calibrations import calibrated_lens, checked_rotation
from spidereye.camera import Camera, Crop, circle_of
from spidereye.errors import SpiderEyeError
from spidereye.lenses import LENSES, Lens
from spidereye.marked import Entry, parse_yaml, read_text
from spidereye.rig import NAMED_RIGS, Rig, circle_of_fov, yaw_pitch_roll
from spidereye.whole_files import write_whole

AnyRig = Rig | str | Path  # the last two: of its file, or a name

_VERSION = 1
_LONGEST_SHOWN = 200  # letters of what was given for a rig
_WIDEST = 65_535  # pixels of a side, as JPEG has it
_MASK_MODES = ("inscribed", "diagonal", "none")
_PLANE = ("model", "width", "height", "cx", "cy")
_VIEW = ("name", "lens", "rotation", "position", "circle", "fov", "mask", "crop")
_CROP = ("file", "left", "top", "width", "height", "file_width", "file_height")
_ANGLES = ("yaw", "pitch", "roll")


def load_rig(name_or_path: AnyRig) -> Rig:
    """The named rig, or that of a file of ours; a rig as it is. Raises SpiderEyeError like
    read_rig, and names the named rigs where there is neither."""
    if isinstance(name_or_path, Rig):
        return name_or_path
    if not isinstance(name_or_path, str | Path):
        raise SpiderEyeError(
            f"a rig is a Rig, a file or a name ({', '.join(NAMED_RIGS)}), got "
            f"{type(name_or_path).__name__}"
        )
    if str(name_or_path) in NAMED_RIGS:
        return NAMED_RIGS[str(name_or_path)]()
    path, shown = Path(name_or_path), str(name_or_path)
    if len(shown) > _LONGEST_SHOWN or "\n" in shown:  # a rig's text, as it is in a file
        shown = f"{shown[:40]!r}…"
    try:
        there, reason = path.is_file(), ""
    except OSError as error:
        there, reason = False, f": {error.strerror or error}"
    if not there:
        raise SpiderEyeError(
            f"{shown} is neither a rig file nor a named rig ({', '.join(NAMED_RIGS)}){reason}"
        )
    return read_rig(path)


def read_rig(path: Path) -> Rig:
    """The rig of a file. Raises SpiderEyeError with the file, the line, and what was expected."""
    return rig_from(parse_yaml(read_text(path), path))


def rig_from(root: Entry, masks: bool = True) -> Rig:
    """The rig of a file's content. masks: whether it may name files of masks, which then are read.
    Raises SpiderEyeError as for a file."""
    if root.is_mapping and "spidereye_rig" not in root.mapping():
        raise root.problem(
            "expected the key spidereye_rig: 1, this is no rig of ours; calibrations of other "
            "programs are converted by `spidereye rig convert`"
        )
    found = root.mapping(("views",), ("spidereye_rig", "sphere_radius", "views"))
    version = found["spidereye_rig"].integer("a version of the format, 1")
    if version != _VERSION:
        raise found["spidereye_rig"].unexpected(f"{_VERSION}, the version this program reads")
    radius = math.inf
    if "sphere_radius" in found:
        expected = "metres above 0, or .inf"
        radius = found["sphere_radius"].number(expected, above=0, infinite=True)
    entries = found["views"].sequence("a list of views")
    if not entries:
        raise found["views"].unexpected("a list of at least one view")
    cameras: list[Camera] = []
    for entry in entries:
        camera = _camera(entry, masks)
        if camera.name in (other.name for other in cameras):
            raise entry.problem(f"another view is called {camera.name!r} already")
        cameras.append(camera)
    given = {camera.crop.file for camera in cameras if camera.crop is not None}
    count = len(given) + sum(camera.crop is None for camera in cameras)
    if given and max(given) >= count:
        raise found["views"].problem(
            f"the views are in {count} file{'s' * (count > 1)} of a shot, numbered from 0, so that "
            f"there is no file {max(given)}"
        )
    try:
        return Rig(tuple(cameras), radius)
    except SpiderEyeError as error:
        raise found["views"].problem(str(error)) from error


def _camera(entry: Entry, masks: bool) -> Camera:
    found = entry.mapping(("name", "lens", "rotation"), _VIEW)
    if "mask" in found and not masks:
        raise found["mask"].problem("masks are files of their own, which are not taken here")
    lens = _lens(found["lens"])
    position = [0.0, 0.0, 0.0]
    if "position" in found:
        position = found["position"].numbers(3, "[x, y, z] in metres")
    return Camera(
        name=found["name"].text("the view's name"),
        lens=lens,
        rotation=_rotation(found["rotation"]),
        position=torch.tensor(position, dtype=torch.float64),
        circle=_circle(found, lens),
        visible=_visible(found["mask"], lens) if "mask" in found else None,
        crop=_crop(found["crop"], lens) if "crop" in found else None,
    )


def _lens(entry: Entry) -> Lens:
    found = entry.mapping(("model", "width", "height"))
    model = found["model"].text("a lens model", choices=LENSES)
    counts = LENSES[model].parameters
    focal = ("c", "d", "e") if model == "ocam" else ("fx", "fy", "skew")
    required = list(counts) + (["fx"] if "fx" in focal and "matrix" not in found else [])
    found = entry.mapping(required, (*_PLANE, *focal, "matrix", *counts))
    parameters: dict[str, float | list[float]] = {
        name: found[name].numbers(count) if count != 0 else found[name].number()
        for name, count in counts.items()
    }
    given = {name: found[name].number() for name in (*focal, "cx", "cy") if name in found}
    matrix = None
    if "matrix" in found:
        if any(name in given for name in focal):
            raise found["matrix"].problem(f"give either matrix or {', '.join(focal)}, not both")
        matrix = found["matrix"].matrix(2, 2, "a 2x2 matrix")
    elif model == "ocam":
        matrix = [[1.0, given.pop("e", 0.0)], [given.pop("d", 0.0), given.pop("c", 1.0)]]
    pixels = f"a number of pixels, at most {_WIDEST}"
    width, height = (found[side].integer(pixels, 1, _WIDEST) for side in ("width", "height"))
    return calibrated_lens(
        entry, model, parameters, matrix=matrix, width=width, height=height, **given
    )


def _rotation(entry: Entry) -> Float[Tensor, "3 3"]:
    found = entry.mapping((), (*_ANGLES, "matrix"))
    if "matrix" in found:
        if len(found) > 1:
            raise entry.problem(f"{entry.where} has both a matrix and angles; give one of them")
        return checked_rotation(found["matrix"], found["matrix"].matrix(3, 3, "a 3x3 matrix"))
    angles = [found[name].number("degrees") if name in found else 0.0 for name in _ANGLES]
    return rotation.from_degrees(*angles)


def _circle(found: dict[str, Entry], lens: Lens) -> float:
    if "fov" in found and "circle" in found:
        raise found["circle"].problem("give either fov or circle: both say the same")
    if "fov" in found:
        degrees = found["fov"].number("degrees from above 0 to 360", above=0)
        try:
            return circle_of_fov(lens, degrees)
        except SpiderEyeError as error:
            raise found["fov"].problem(str(error)) from error
    if "circle" not in found:
        return circle_of("inscribed", lens.width, lens.height)
    entry = found["circle"]
    if isinstance(entry.node, yaml.ScalarNode) and entry.node.value in _MASK_MODES:
        return circle_of(entry.node.value, lens.width, lens.height)
    return entry.number(f"pixels above 0 or one of {', '.join(_MASK_MODES)}", above=0)


def _visible(entry: Entry, lens: Lens) -> Bool[Tensor, "h w"]:
    name = entry.text("the name of a picture")
    path = entry.file.parent / name
    try:
        if not path.exists():  # a link's masks may lie beside what it leads to
            path = Path(os.path.realpath(entry.file)).parent / name
        with Image.open(path) as image:
            size, deep = image.size, image.mode.startswith("I")  # 16 bits, which L would clip
            grey = np.asarray(image if deep else image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else str(error)
        raise entry.problem(f"the mask {path} cannot be read: {reason}") from error
    if size != (lens.width, lens.height):
        raise entry.problem(
            f"the mask {path} has {size[0]}x{size[1]} pixels, its lens {lens.width}x{lens.height}"
        )
    return torch.from_numpy(grey > (32767 if deep else 127))


def _crop(entry: Entry, lens: Lens) -> Crop:
    found = entry.mapping(_CROP[3:], _CROP)
    values = {name: value.integer("a whole number from 0") for name, value in found.items()}
    crop = Crop(**{"file": 0, "left": 0, "top": 0, **values})
    right, bottom = crop.left + crop.width, crop.top + crop.height
    if right > crop.file_width or bottom > crop.file_height:
        raise entry.problem(
            f"the crop of {crop.width}x{crop.height} pixels at ({crop.left}, {crop.top}) reaches "
            f"over the edge of its file of {crop.file_width}x{crop.file_height} pixels"
        )
    if crop.width * lens.height != crop.height * lens.width or crop.width < 1:
        raise entry.problem(
            f"the crop of {crop.width}x{crop.height} pixels has not the shape of its lens, "
            f"{lens.width}x{lens.height}"
        )
    return crop


def write_rig(rig: Rig, path: Path) -> None:
    """Write a rig whose cameras have batch shape [], so that read_rig gives it back to 1e-12.

    Masks become PNG files beside it, `<stem>_mask<number>.png`. Every file appears whole or not at
    all, the rig last. Raises SpiderEyeError where one cannot be written.
    """
    path = Path(os.path.realpath(path))  # where masks will be looked for
    lenses: dict[int, dict[str, Any]] = {}
    views = []
    for index, camera in enumerate(rig.cameras):
        lens = lenses.setdefault(id(camera.lens), _lens_fields(camera.lens))
        view = {"name": camera.name, "lens": lens, "rotation": _rotation_fields(camera.rotation)}
        view["position"] = [metres + 0.0 for metres in camera.position.tolist()]  # no -0.0
        view["circle"] = camera.circle if math.isfinite(camera.circle) else "none"
        if camera.visible is not None:
            mask = path.with_name(f"{path.stem}_mask{index}.png")
            file = io.BytesIO()
            Image.fromarray(camera.visible.cpu().numpy()).save(file, format="PNG")
            write_whole(mask, file.getvalue())
            view["mask"] = mask.name
        if camera.crop is not None:
            view["crop"] = asdict(camera.crop)
        views.append(view)
    document = {"spidereye_rig": _VERSION, "sphere_radius": rig.sphere_radius, "views": views}
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    write_whole(path, f"# Axes: x right, y up, z forward. Degrees, metres, pixels.\n{text}")


class _Dumper(yaml.SafeDumper):
    """Short lists and mappings on one line; a lens that views share is called lens1, lens2, …"""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{**options, "default_flow_style": None})

    def generate_anchor(self, node: yaml.Node) -> str:
        return f"lens{int(super().generate_anchor(node)[2:])}"  # id001 is PyYAML's


def _lens_fields(lens: Lens) -> dict[str, Any]:
    (a, b), (c, d) = lens.matrix.tolist()
    cx, cy = lens.centre.tolist()
    fields: dict[str, Any] = {"model": lens.model, "width": lens.width, "height": lens.height}
    if lens.model == "ocam" and a == 1:
        fields |= {"c": d, "d": c, "e": b}
    elif lens.model != "ocam" and c == 0:
        fields |= {"fx": a, "fy": d, "skew": b}
    else:
        fields["matrix"] = [[a, b], [c, d]]
    parameters = {name: getattr(lens, name).tolist() for name in lens.parameters}
    return {**fields, "cx": cx, "cy": cy, **parameters}


def _rotation_fields(matrix: Float[Tensor, "3 3"]) -> dict[str, Any]:
    """Angles, which people can read, where they say exactly the same as the matrix."""
    angles = [round(angle, 12) + 0.0 for angle in yaw_pitch_roll(matrix)]
    if float((rotation.from_degrees(*angles) - matrix).abs().max()) < 1e-13:
        return dict(zip(_ANGLES, angles, strict=True))
    return {"matrix": matrix.tolist()}
