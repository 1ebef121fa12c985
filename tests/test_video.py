"""Videos as panoramas: every frame exact in any order, and what is wrong with a file is named."""

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_workers import in_workers

from spidereye.batches import EverySampleOnce
from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError
from spidereye.sources import SourceConfig, open_source

av = pytest.importorskip("av")

from made_videos import (  # noqa: E402
    GROUP,
    damage,
    decoded_at_once,
    frame,
    mux,
    packets,
    write_video,
)

from spidereye.sources.video import VideoSource, look_at  # noqa: E402
from spidereye.sources.video_file import VideoDecoder, read_timeline  # noqa: E402

CODECS = [
    ("a.mkv", "ffv1", "bgr0", {}),
    ("a.mp4", "libx264", "yuv420p", {"bf": "3"}),
    ("open.mp4", "libx264", "yuv420p", {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    ("a.mov", "mjpeg", "yuvj420p", {}),
    ("a.avi", "mpeg4", "yuv420p", {"bf": "2"}),
    ("vp9.webm", "libvpx-vp9", "yuv420p", {}),
    ("hidden.webm", "libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "10"}),
]


@pytest.mark.parametrize("name,codec,pixels,options", CODECS, ids=[row[0] for row in CODECS])
def test_every_frame_is_exact_in_any_order(tmp_path, name, codec, pixels, options):
    path = write_video(tmp_path / "train" / name, 30, codec, pixels, **options)
    expected = decoded_at_once(path)
    source = VideoSource(tmp_path, "train", interval=1)
    assert len(source) == len(expected) == 30
    shuffled = np.random.default_rng(0).permutation(30).tolist()
    for order in (range(30), shuffled, range(29, -1, -1)):
        for index in order:
            assert np.array_equal(source.panorama(index), expected[index]), (name, index)
    assert len({picture.tobytes() for picture in expected}) == 30


def test_lossless_frames_are_those_that_were_written(tmp_path):
    write_video(tmp_path / "train" / "a.mkv")
    source = VideoSource(tmp_path, "train", interval=7)
    assert list(source.names) == [f"train/a.mkv#{number:06d}" for number in range(0, 30, 7)]
    for index in (4, 0, 3):
        assert np.array_equal(source.panorama(index), frame(7 * index))
    with pytest.raises(IndexError):
        source.panorama(5)


def test_nothing_is_decoded_but_the_way_from_the_keyframe(tmp_path, monkeypatch):
    path = write_video(tmp_path / "train" / "a.mp4", 80, "libx264", "yuv420p", bf="0")
    decoded: list[int] = []
    from_key = VideoDecoder._packets_from

    def counted(self, key):
        for packet in from_key(self, key):
            decoded.append(packet.pts)
            yield packet

    monkeypatch.setattr(VideoDecoder, "_packets_from", counted)
    source = VideoSource(tmp_path, "train", interval=1)
    keys = source._videos[0].keys
    assert len(keys) >= 10
    assert len(decoded) <= 10  # opening: the first and the last keyframe
    decoded.clear()
    last = len(source) - 1
    assert np.array_equal(source.panorama(last), decoded_at_once(path)[last])
    assert len(decoded) <= GROUP + 1


def test_limits(tmp_path):
    for name in ("b.mkv", "a.mkv", "deep/c.mkv"):
        write_video(tmp_path / "val" / name)
    assert len(VideoSource(tmp_path, "val", 10)) == 9
    few = VideoSource(tmp_path, "val", 10, most=2)
    assert [name[-12:] for name in few.names] == [
        f"{name}.mkv#{number:06d}" for name in "abc" for number in (0, 10)
    ]
    (tmp_path / "val" / "deep" / "c.mkv").write_bytes(b"not looked at")
    assert list(VideoSource(tmp_path, "val", 10, limit=4).names) == [
        *(f"val/a.mkv#{number:06d}" for number in (0, 10, 20)), "val/b.mkv#000000",
    ]  # fmt: skip


def test_workers_decode_what_one_process_does(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "val" / name, 30, "libx264", "yuv420p", bf="2")
    config = SourceConfig(type="video", root=str(tmp_path), frame_interval=3)
    source = open_source(config, "val")
    alone = [source.panorama(index, 0) for index in range(len(source))]  # and decoders are open
    assert len(pickle.loads(pickle.dumps(source)).names) == 20
    seen: dict[int, np.ndarray] = {}
    for batch in in_workers(source, EverySampleOnce(20, 3, 0, 1), workers=2):
        for index, picture in batch:
            assert index not in seen
            seen[index] = picture
    assert sorted(seen) == list(range(20))
    assert all(np.array_equal(seen[index], alone[index]) for index in seen)


def test_a_video_that_ends_early(tmp_path, caplog):
    path = write_video(tmp_path / "train" / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    config = SourceConfig(type="video", root=str(tmp_path), frame_interval=5)
    with pytest.raises(SpiderEyeError, match=r"a\.mkv: the video ends 1\.\d s before its announc"):
        open_source(config, "train")
    with caplog.at_level(logging.WARNING):
        source = open_source(replace(config, on_bad_file="skip"), "train")
    assert "ends 1." in caplog.text and "skipped" in caplog.text
    assert len(source) == 4  # of 6: the frames that are there
    assert np.array_equal(source.panorama(3, 0), frame(15))


def test_a_truncated_mp4_has_no_table_of_frames(tmp_path):
    path = write_video(tmp_path / "train" / "a.mp4", 30, "libx264", "yuv420p")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(SpiderEyeError, match=r"a\.mp4: not a video that can be read"):
        VideoSource(tmp_path, "train")


def test_a_truncated_mp4_with_its_table_first(tmp_path):
    path = write_video(tmp_path / "a.mp4", 30, "libx264", "yuv420p")
    streamed = tmp_path / "train" / "a.mp4"
    streamed.parent.mkdir()
    with (
        av.open(str(path)) as whole,
        av.open(str(streamed), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(whole.streams.video[0])
        mux(out, stream, (packet for packet in whole.demux(video=0) if packet.size))
    place, _ = packets(streamed)[20]
    streamed.write_bytes(streamed.read_bytes()[: place + 5])
    frames, bad = look_at(streamed)
    assert [complaint.kind for complaint in bad] == ["ends early"]
    assert frames is not None and len(frames) == 20


def test_a_broken_frame_is_named_or_skipped(tmp_path, caplog):
    path = write_video(tmp_path / "train" / "a.mov", 12, "mjpeg", "yuvj420p")
    expected = decoded_at_once(path)
    damage(path, 5)
    config = SourceConfig(type="video", root=str(tmp_path), frame_interval=1)
    source = open_source(config, "train")
    for index in (6, 4, 11):
        assert np.array_equal(source.panorama(index, 0), expected[index])
    with pytest.raises(PictureError, match=r"a\.mov: the frame at 0\.50 s cannot be decoded"):
        source.panorama(5, 0)
    skipping = open_source(replace(config, on_bad_file="skip"), "train")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert np.array_equal(skipping.panorama(5, 0), expected[4])
    (record,) = caplog.records
    assert "train/a.mov#000004 is shown in its place" in record.message
    assert len(skipping) == 12


def test_frames_predicted_from_a_broken_one_are_broken_too(tmp_path):
    path = write_video(tmp_path / "train" / "a.mp4", 40, "libx264", "yuv420p", bf="0")
    expected = decoded_at_once(path)
    damage(path, 12)
    source = VideoSource(tmp_path, "train", interval=1)
    first = next(key for key, _ in source._videos[0].keys if key > source._videos[0].times[12])
    after = source._videos[0].times.index(first)

    def outcome(index: int) -> bool:
        try:
            return np.array_equal(source.panorama(index), expected[index])
        except PictureError:
            return False

    for order in (range(40), range(39, -1, -1)):
        good = {index for index in order if outcome(index)}
        assert good == {*range(12), *range(after, 40)}, "depends on the order asked"


def test_a_video_that_changes_size(tmp_path, caplog):
    path = write_video(tmp_path / "train" / "a.mkv", 10, "mjpeg", "yuvj420p", ((64, 32), (96, 48)))
    expected = decoded_at_once(path)
    assert expected[10].shape == (48, 96, 3)
    with pytest.raises(SpiderEyeError, match=r"changes size at frame 10 \(1\.0 s\), from 64x32 to"):
        VideoSource(tmp_path, "train", 1)
    with caplog.at_level(logging.WARNING):
        source = VideoSource(tmp_path, "train", 1, on_bad_file="skip")
    assert len(source) == 10 and "changes size" in caplog.text
    assert np.array_equal(source.panorama(9), expected[9])


def test_a_size_that_changes_and_changes_back_is_named_when_reached(tmp_path):
    sizes = ((64, 32), (96, 48), (64, 32))
    write_video(tmp_path / "train" / "a.mkv", 10, "mjpeg", "yuvj420p", sizes)
    source = VideoSource(tmp_path, "train", 1)
    assert source.panorama(25).shape == (32, 64, 3)
    with pytest.raises(PictureError, match=r"a\.mkv#000015: the video changes size, .* 96x48"):
        source.panorama(15)


def test_all_bad_videos_are_listed(tmp_path):
    train = tmp_path / "train"
    write_video(train / "square.mkv", 3, sizes=((64, 64),))
    write_video(train / "small.mkv", 3, sizes=((32, 16),))
    write_video(train / "good.mkv", 3)
    (train / "empty.mp4").touch()
    (train / "text.webm").write_text("no video at all")
    with pytest.raises(SpiderEyeError) as caught:
        VideoSource(tmp_path, "train", min_width=64)
    head, *lines = str(caught.value).split("\n")
    assert head.startswith("4 bad files;") and "dataset.on_bad_file=skip" in head
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in lines] == [
        "empty.mp4", "small.mkv", "square.mkv", "text.webm",
    ]  # fmt: skip


def test_a_folder_of_the_other_kind_says_so(tmp_path):
    write_video(tmp_path / "train" / "a.mkv", 3)
    write_picture(tmp_path / "val" / "a.png", frame(0))
    with pytest.raises(SpiderEyeError, match=r"but 1 for dataset\.type=video"):
        open_source(SourceConfig(root=str(tmp_path)), "train")
    with pytest.raises(SpiderEyeError, match=r"but 1 for dataset\.type=folder"):
        open_source(SourceConfig(type="video", root=str(tmp_path)), "val")
    write_picture(tmp_path / "train" / "a.png", frame(0))  # both: the type decides
    assert list(open_source(SourceConfig(root=str(tmp_path)), "train").names) == ["train/a.png"]


def test_a_name_with_colons_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "12:30:00_front.mp4", 3)
    timeline = read_timeline(Path("12:30:00_front.mp4"))
    assert len(timeline.times) == 3
    VideoDecoder(timeline.path, timeline.keys).frame(timeline.times[0])
    with pytest.raises(PictureError, match=r"^a:b\.mp4: .*No such file"):
        read_timeline(Path("a:b.mp4"))
