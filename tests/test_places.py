"""Panoramas of one place stay in one split, whatever their number, hour or weather."""

import numpy as np
import pytest

from spidereye.places import place_of, split_of


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["foo_01", "foo_02", "foo", "Foo 3.jpg", "a/b/foo_02_4k.hdr"], "foo"),
        (["kiara_1_dawn", "kiara_8_sunset.exr", "Kiara-2-Sunrise"], "kiara"),
        (["kloofendal_48d_partly_cloudy", "kloofendal_43d_clear_puresky"], "kloofendal"),
        (["rooftop_day", "rooftop_night.JPEG"], "rooftop"),
        (["night_street_01"], "night_street"),
        (["v1.2_hall.tiff"], "v1_2_hall"),
        (["sunset"], "sunset"),
    ],
)
def test_shots_of_one_place(names: list[str], place: str):
    assert [place_of(name) for name in names] == [place] * len(names)


@pytest.mark.parametrize(
    "names",
    [
        ["pano_01.jpg", "pano_02.jpg"],
        ["IMG_20240101_120000.jpg", "IMG_20240101_120001.jpg"],
        ["R0010001.JPG", "R0010002.JPG"],
        ["360_panorama_7_4k.png", "360_panorama_8_4k.png"],
        ["scene-train-00001", "scene-train-00002"],
        ["room_0001.png", "room_0002.png"],
        ["01", "02"],
    ],
)
def test_numbers_that_count_pictures(names: list[str]):
    assert place_of(names[0]) != place_of(names[1])


@pytest.mark.parametrize("name", ["", ".", "__", "...jpg", "/"])
def test_names_without_a_word(name: str):
    assert place_of(name) == name


def test_the_split_is_stable_and_of_the_asked_share():
    places = [f"place {number}" for number in range(4000)]
    splits = {val: [split_of(place, 0, val) for place in places] for val in (0.0, 0.1, 0.2, 1.0)}
    share = {val: np.mean([split == "val" for split in drawn]) for val, drawn in splits.items()}
    assert share[0.0] == 0.0 and share[1.0] == 1.0
    assert abs(share[0.1] - 0.1) < 0.02 and abs(share[0.2] - 0.2) < 0.02
    moved = [pair for pair in zip(splits[0.1], splits[0.2], strict=True) if pair[0] != pair[1]]
    assert set(moved) == {("train", "val")}
    # Values seen once: another machine or version must not deal the places anew.
    drawn = [split_of(place, 7, 0.5) for place in ("foo", "bar", "baz", "kiara")]
    assert drawn == ["train", "train", "val", "val"]


def test_names_that_are_no_text_have_a_split_too():
    """Bytes that are not UTF-8 come from the system as surrogates."""
    drawn = {split_of(f"place\udcff{number}", 0, 0.5) for number in range(20)}
    assert drawn == {"train", "val"}
