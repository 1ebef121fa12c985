"""Panoramas say that they are whole spheres, and when and where their views were taken."""

import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.ExifTags import IFD, Base

from spidereye.panorama_metadata import carried_exif, sphere_xmp, write_panorama
from spidereye.pictures import read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
GPANO = "{http://ns.google.com/photos/1.0/panorama/}"
PLACE = {
    ExifTags.GPS.GPSLatitudeRef: "N",
    ExifTags.GPS.GPSLatitude: (47.0, 30.0, 15.0),
    ExifTags.GPS.GPSLongitudeRef: "E",
    ExifTags.GPS.GPSLongitude: (8.0, 43.0, 30.0),
}


def photograph(path, place: dict | None = None, **times: str):
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Make] = "Some camera"
    if times:
        exif.get_ifd(IFD.Exif).update({Base[name]: value for name, value in times.items()})
        exif.get_ifd(IFD.Exif)[Base.FocalLength] = 8.0
    if place:
        exif.get_ifd(IFD.GPSInfo).update(place)
    Image.fromarray(PICTURE).save(path, exif=exif)
    return path


def test_the_packet_is_xml_and_says_a_whole_sphere():
    text = sphere_xmp(2048, 1024).decode()
    root = ElementTree.fromstring(text)
    (described,) = root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    said = {child.tag.removeprefix(GPANO): child.text for child in described}
    assert said["ProjectionType"] == "equirectangular" and said["UsePanoramaViewer"] == "True"
    for side, pixels in (("Width", "2048"), ("Height", "1024")):
        assert said[f"FullPano{side}Pixels"] == said[f"CroppedAreaImage{side}Pixels"] == pixels
    assert said["CroppedAreaLeftPixels"] == said["CroppedAreaTopPixels"] == "0"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_time_and_place_of_the_first_view_that_has_any_are_carried_over(tmp_path, suffix):
    pictures = [
        photograph(tmp_path / "front.jpg"),
        photograph(
            tmp_path / "right.jpg",
            PLACE,
            DateTimeOriginal="2026:05:04 03:02:01",
            OffsetTimeOriginal="+02:00",
        ),
        photograph(tmp_path / "back.jpg", DateTimeOriginal="2020:01:01 00:00:00"),
    ]
    path = tmp_path / f"pano{suffix}"
    write_panorama(path, PICTURE, pictures)
    if suffix in (".png", ".tif"):
        assert np.array_equal(read_picture(path), PICTURE)
    assert sphere_xmp(32, 16) in path.read_bytes()
    with Image.open(path) as image:
        exif = image.getexif()
        taken = exif.get_ifd(IFD.Exif)
        assert taken[Base.DateTimeOriginal] == "2026:05:04 03:02:01"
        assert taken[Base.OffsetTimeOriginal] == "+02:00"
        assert dict(exif.get_ifd(IFD.GPSInfo)) == PLACE
        assert exif[Base.Software] == "SpiderEye"
        # What would be wrong of a panorama: it would be turned, or said to be of one lens.
        assert Base.Orientation not in exif and Base.Make not in exif
        assert Base.FocalLength not in taken


def test_pictures_without_metadata_or_with_broken_one_are_none(tmp_path):
    plain = tmp_path / "plain.png"
    Image.fromarray(PICTURE).save(plain)
    broken = tmp_path / "broken.jpg"
    Image.fromarray(PICTURE).save(broken, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    other = tmp_path / "other.jpg"
    other.write_text("no picture")
    assert carried_exif([plain, broken, other, tmp_path / "nothing.jpg"]) is None
    dated = photograph(tmp_path / "dated.jpg", DateTimeOriginal="2026:05:04 03:02:01")
    assert carried_exif([broken, dated]) is not None
    write_panorama(tmp_path / "pano.jpg", PICTURE, [plain, broken])
    with Image.open(tmp_path / "pano.jpg") as image:
        assert not image.getexif() and "xmp" in image.info


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exiftool_reads_it(tmp_path, suffix):
    picture = photograph(tmp_path / "front.jpg", PLACE, DateTimeOriginal="2026:05:04 03:02:01")
    path = tmp_path / f"pano{suffix}"
    write_panorama(path, PICTURE, [picture])
    made = subprocess.run(
        ["exiftool", "-s", "-warning", "-ProjectionType", "-FullPanoWidthPixels",
         "-UsePanoramaViewer", "-DateTimeOriginal", "-GPSLatitude", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = dict(line.split(":", 1) for line in made.stdout.splitlines())
    said = {key.strip(): value.strip() for key, value in said.items()}
    assert said["ProjectionType"] == "equirectangular" and said["FullPanoWidthPixels"] == "32"
    assert said["UsePanoramaViewer"] == "True" and "Warning" not in said
    assert said["DateTimeOriginal"] == "2026:05:04 03:02:01"
    assert said["GPSLatitude"].startswith("47 deg 30' 15")
