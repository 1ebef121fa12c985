"""Which panoramas show the same place, and which split a place belongs to.

Panoramas of one place in both train and val make validation look better than it is: the model has
seen the room. So the split is drawn for places, not for files, and each place's draw is a hash of
its name: adding or removing files never moves another file from one split to the other.
"""

import hashlib
import re
from typing import Literal

# A tail that tells shots of one place apart: foo_02, foo_1_dawn, foo_48d_partly_cloudy, foo_4k.
# Longer numbers are counters of a camera or dates, which count pictures and not places.
_VARIABLE = re.compile(
    r"\d{1,2}[a-z]?"
    r"|dawn|sunrise|morning|day|noon|midday|afternoon|sunset|dusk|twilight|evening|night"
    r"|clear|sunny|partly|cloudy|overcast|misty|foggy|rainy|pure|sky|puresky"
)
# Words that name no place: pano_01 and pano_02 need not have anything to do with each other.
_PLACELESS = re.compile(
    r"360|dsc|equirect|equirectangular|frame|hdri?|image|img|pano|panorama|photo|pic|picture"
    r"|scene|shot|view"
)


def place_of(name: str) -> str:
    """The place that a panorama's name speaks of: what is left without its variable tail.

    name: an asset's id or a file's name; folders and suffix do not count. Split at separators, it
    loses its last words while they are numbers of up to two digits (with a letter: 4k, 48d), times
    of day or weathers, and something is left that can name a place: blouberg_sunrise_2.hdr gives
    blouberg, pano_01.jpg stays pano_01. Different names can still be one place, unnoticed.
    """
    stem = re.sub(r"\.[A-Za-z]\w{1,3}$", "", name.replace("\\", "/").rsplit("/", 1)[-1])
    words = [word for word in re.split(r"[\s_.-]+", stem.lower()) if word]
    while (
        len(words) > 1
        and _VARIABLE.fullmatch(words[-1])
        and not all(_PLACELESS.fullmatch(word) for word in words[:-1])
    ):
        words.pop()
    return "_".join(words) or name


def split_of(place: str, seed: int, val: float) -> Literal["train", "val"]:
    """The split of a place: val with probability `val` (0 to 1), by a hash of seed and place.

    The same on every machine. A larger val moves places from train to val and none back.
    """
    return "val" if unit_hash(seed, "split", place) < val else "train"


def unit_hash(seed: int, stream: str, text: str) -> float:
    """A number in [0, 1) that the arguments determine, uniform over texts.

    stream: what the draw is for. Without it the assets that are picked first would all be those
    that fall to val.
    """
    # Names of files need not be text: Python keeps their other bytes as surrogates.
    key = f"{seed}/{stream}/{text}".encode(errors="surrogatepass")
    digest = hashlib.sha256(key).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # 48 bits: a float holds them exactly
