"""What the quickstart says of its data; that it trains and reports is in test_docs_commands.py."""

from pathlib import Path

import pytest

from spidereye.config_files import load_config
from spidereye.errors import SpiderEyeError
from spidereye.quickstart import _data, _data_overrides, run_quickstart

HERE = Path.cwd()


@pytest.mark.parametrize(
    "overrides,words",
    [
        ([], "48 built-in procedural scenes"),
        (["dataset.limit=3"], "3 built-in procedural scenes"),
        (["dataset.type=folder", "dataset.root=mine"], f"the panoramas of {HERE / 'mine'}"),
        (["dataset.type=video", "dataset.video_root=v"], f"the video frames of {HERE / 'v'}"),
        (["dataset.type=shards", "dataset.root=s"], f"the shards of {HERE / 's'}"),
        (
            ["dataset.type=shards", "dataset.root=https://a.b/s", "dataset.shards_train=t/0.tar"],
            "the shards of https://a.b/s, t/0.tar",
        ),
    ],
)
def test_data_is_called_what_it_is(overrides, words):
    assert _data(load_config("quickstart", overrides)) == words


@pytest.mark.parametrize("folder", ["my photos, 2024", "a=b", "it's", "dä", "back\\slash"])
def test_a_folder_of_any_name_is_taken_as_it_is(folder):
    config = load_config("quickstart", _data_overrides(Path(folder), []))
    assert (config.dataset.type, config.dataset.root) == ("folder", folder)


def test_a_link_to_itself_is_no_folder(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(SpiderEyeError, match="there is no such folder"):
        run_quickstart(tmp_path / "circle", [f"runs_dir={tmp_path}"])
