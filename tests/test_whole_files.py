"""Files that appear whole, under every name that a file can have."""

import pytest

from spidereye.errors import SpiderEyeError
from spidereye.whole_files import check_place, write_whole


@pytest.mark.parametrize("name", ["b" * 251 + ".png", "é" * 125 + ".png", "😀" * 62 + ".png"])
def test_the_longest_names_are_written(tmp_path, name):
    check_place(tmp_path / name)
    write_whole(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_stays_one(tmp_path):
    link, target = tmp_path / "latest.png", tmp_path / "made" / "1.png"
    link.symlink_to(target)
    write_whole(link, "whole")
    assert link.is_symlink() and target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["1.png"]
    (tmp_path / "astray.png").symlink_to(tmp_path / "latest.png" / "2.png")
    with pytest.raises(SpiderEyeError, match=r"astray\.png: cannot be written"):
        check_place(tmp_path / "astray.png")


def test_a_place_that_cannot_be_looked_at_is_refused_before_the_work(tmp_path):
    """As in a folder that may not be entered."""
    for place in (tmp_path / f"{'b' * 256}.png", tmp_path / ("b" * 256) / "a.png"):
        with pytest.raises(SpiderEyeError, match=r"\.png: cannot be written: File name too long"):
            check_place(place)
