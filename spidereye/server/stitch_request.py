"""From a request's fields to a panorama: checked when it arrives, decoded when its turn comes."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch

from spidereye.coverage import sphere_fraction
from spidereye.errors import SpiderEyeError
from spidereye.guess_job import GuessOptions, guess
from spidereye.image_circles import brightest
from spidereye.marked import parse_yaml
from spidereye.natural_size import natural_width
from spidereye.panorama_metadata import save_panorama
from spidereye.pictures import PictureError, TooManyPixels, probe, read_picture
from spidereye.rig import Rig
from spidereye.rig_files import rig_from
from spidereye.self_calibration import REFINEMENTS
from spidereye.server.limits import Limits, Refused
from spidereye.server.models import GEOMETRIC, Models
from spidereye.shot_files import by_name, unnamed
from spidereye.shots import calibrated_sizes
from spidereye.stitch_job import size_from
from spidereye.stitched import Panorama
from spidereye.stitcher import Stitcher

FORMATS = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_MOST_RIG = 100_000  # bytes of a rig file
# Guessing decodes pictures before their turn comes: those of one shot at a time.
_GUESSING = Lock()


@dataclass(frozen=True)
class Upload:
    """A file of a request. name: as its sender calls it; never part of a path here."""

    name: str
    data: bytes

    @property
    def label(self) -> Path:
        """What messages and the order of views go by."""
        return Path(Path(self.name.replace("\\", "/")).name or "picture")

    def size(self, limits: Limits) -> tuple[int, int]:
        """(width, height) by the header. Raises Refused for what is no picture, or too large."""
        if not self.data:
            raise Refused(400, f"{self.label} is empty; send the picture itself")
        with _refusing():
            width, height = probe(self.label, io.BytesIO(self.data))
        if width * height > limits.pixels:
            raise Refused(
                413,
                f"{self.label} is {width}x{height}, more than {limits.pixels / 1e6:g} million "
                "pixels; send a smaller one",
            )
        return width, height

    def picture(self) -> np.ndarray:
        """Decoded. Raises Refused for what is damaged."""
        with _refusing():
            return read_picture(self.label, file=io.BytesIO(self.data))


@dataclass(frozen=True)
class Wanted:
    """The fields of a request, as they came; None: not given. rig: a name; rig_file: in its place.
    family, fov, order: of a rig that is guessed from the pictures, in place of both."""

    model: str | None = None
    rig: str | None = None
    rig_file: Upload | None = None
    family: str | None = None
    fov: float | None = None
    order: str | None = None
    size: str | None = None
    refine: str | None = None
    steps: int | None = None
    seed: int = 0
    format: str = "jpg"


@dataclass(frozen=True)
class Made:
    """picture, count: encoded.   format: of FORMATS.   about: what people should know, for JSON."""

    picture: bytes
    format: str
    count: bytes
    about: dict[str, Any]

    @property
    def bytes(self) -> int:
        """How many it holds."""
        return len(self.picture) + len(self.count)


@dataclass(frozen=True)
class StitchRequest:
    """A request that was found sound: what `make` needs."""

    stitcher: Stitcher
    views: tuple[Upload | None, ...]
    steps: int | None
    seed: int
    format: str

    @classmethod
    def checked(
        cls, models: Models, limits: Limits, uploads: Sequence[Upload], wanted: Wanted
    ) -> "StitchRequest":
        """Raises Refused, or SpiderEyeError (422), for what cannot be made; decodes nothing but
        where a rig has to be guessed."""
        if not uploads:
            raise Refused(422, "no pictures: send each view as a file in the field `views`")
        if len(uploads) > limits.views:
            raise Refused(413, f"at most {limits.views} views make a shot, got {len(uploads)}")
        if wanted.format not in FORMATS:
            raise Refused(422, f"format is one of {', '.join(FORMATS)}, got {wanted.format!r}")
        if wanted.seed < 0 or (wanted.steps is not None and not 1 <= wanted.steps <= 100):
            raise Refused(422, "seed is 0 or more, steps are 1 to 100")
        for upload in uploads:
            upload.size(limits)
        model = wanted.model or models.default
        if (wanted.steps is not None or wanted.seed) and model == GEOMETRIC:
            raise Refused(422, "steps and seed go with a model: the stitch has no networks")
        rig = _rig(models, limits, model, uploads, wanted)
        views = _ordered(uploads, rig)
        size = None if wanted.size is None else size_from(wanted.size, "size")
        if size is None:
            widths = [None if view is None else view.size(limits)[0] for view in views]
            size = models.natural_size(model, min(natural_width(rig, widths), limits.width))
        if size is not None and size[0] > limits.width:
            raise Refused(413, f"panoramas are at most {limits.width} pixels wide, got {size[0]}")
        stitcher = models.stitcher(model, rig, size, _refinements(wanted.refine))
        return cls(stitcher, views, wanted.steps, wanted.seed, wanted.format)

    @property
    def bytes(self) -> int:
        """How many it holds."""
        return sum(len(view.data) for view in self.views if view is not None)

    def make(self) -> Made:
        """The panorama. Raises Refused or SpiderEyeError for pictures that cannot be stitched."""
        pictures = [None if view is None else view.picture() for view in self.views]
        made = self.stitcher(pictures, steps=self.steps, seed=self.seed)
        file = io.BytesIO()
        sources = [io.BytesIO(view.data) for view in self.views if view is not None]
        save_panorama(file, f".{self.format}", made.picture, sources)
        _, count = cv2.imencode(".png", made.count)
        return Made(file.getvalue(), self.format, count.tobytes(), self._about(made))

    def _about(self, made: Panorama) -> dict[str, Any]:
        height, width = made.picture.shape[:2]
        left = made.misalignment
        return {
            "size": [width, height],
            "origin": self.stitcher.origin,
            "seen": round(float(sphere_fraction(torch.from_numpy(made.seen))), 4),
            "misalignment_degrees": None if left is None else round(math.degrees(left), 3),
            "corrections": [
                {
                    "view": one.view,
                    "gain": [round(gain, 4) for gain in one.gain],
                    "offset": [round(offset, 4) for offset in one.offset],
                    "turned_degrees": round(math.degrees(one.turned), 3),
                }
                for one in made.corrections
            ],
            "notes": list(made.notes),
        }


@contextmanager
def _refusing() -> Iterator[None]:
    """What is wrong with a picture as the answer to a request."""
    try:
        yield
    except PictureError as error:
        large = isinstance(error, TooManyPixels)
        raise Refused(413 if large else 415, str(error)) from error


def _rig(
    models: Models, limits: Limits, model: str, uploads: Sequence[Upload], wanted: Wanted
) -> Rig:
    guessed = wanted.fov is not None or wanted.family is not None
    if (wanted.rig is not None) + (wanted.rig_file is not None) + guessed > 1:
        raise Refused(422, "a rig is one of rig, rig_file, and fov with family: send one of them")
    if wanted.fov is None and (wanted.family is not None or wanted.order is not None):
        what = "family" if wanted.family is not None else "order"
        raise Refused(422, f"{what} goes with fov, the lens's field of view in degrees")
    if wanted.rig_file is not None:
        return _uploaded_rig(wanted.rig_file, limits)
    if guessed:
        options = GuessOptions(family=wanted.family, fov=wanted.fov, order=wanted.order)
        with _GUESSING:
            levels = [(str(one.label), brightest(None, one.picture())) for one in uploads]
            return guess(levels, options)[0]
    return models.rig_of(model) if wanted.rig is None else models.rig(wanted.rig)


def _uploaded_rig(upload: Upload, limits: Limits) -> Rig:
    """Without masks, which would be read from this machine's files."""
    if len(upload.data) > _MOST_RIG:
        raise Refused(413, f"{upload.label}: a rig file has at most {_MOST_RIG} bytes")
    try:
        text = upload.data.decode()
    except UnicodeDecodeError as error:
        raise Refused(415, f"{upload.label}: a rig file is YAML in UTF-8") from error
    rig = rig_from(parse_yaml(text, upload.label), masks=False)
    if len(rig.cameras) > limits.views:  # of which many may be in one picture
        count = len(rig.cameras)
        raise Refused(413, f"a rig has at most {limits.views} views here, got {count}")
    return rig


def _ordered(uploads: Sequence[Upload], rig: Rig) -> tuple[Upload | None, ...]:
    """One for each file of the rig: by name where names tell it, else in the order they came."""
    expected = len(calibrated_sizes(rig))
    # Labels of equal names would be taken for each other. No view is called as these folders are.
    numbered = {Path(f"{number}\0") / one.label.name: one for number, one in enumerate(uploads)}
    lacking = unnamed(list(numbered), rig)
    if len(uploads) + len(lacking) != expected:
        raise Refused(
            422,
            f"this rig takes {expected} pictures ({', '.join(rig.names)}), got {len(uploads)}; "
            "choose another rig, or send what it takes; one may be left out where each file bears "
            "the name of its view, as front.jpg",
        )
    ordered = by_name([*numbered, *(None for _ in lacking)], rig)
    return tuple(None if path is None else numbered[path] for path in ordered)


def _refinements(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    parts = tuple(part.strip() for part in text.split(",") if part.strip() not in ("", "none"))
    for part in parts:
        if part not in REFINEMENTS:
            raise SpiderEyeError(f"refine takes {', '.join(REFINEMENTS)} or none, got {part!r}")
    return parts
