"""The report page: whole in itself, true to its numbers, readable by a parser."""

import base64
import io
import math
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from spidereye.errors import SpiderEyeError
from spidereye.evaluate import TRUTH, Evaluation, Shown
from spidereye.findings import findings, loss_curves, metric_curves
from spidereye.html_report import write_report
from spidereye.metrics import METRICS

MODEL, STITCH = "model (ema)", "stitch"
VOID = {"meta", "img", "br", "hr", "link", "input"}
LOADING = {"src", "href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Collects what the tests ask about, and fails on tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def evaluation(
    model: float | None = 17.25, stitch: float | None = 28.5, protocol: str = "clean"
) -> Evaluation:
    """Two pictures; FID has no weights here, and everything is seen."""

    def row(psnr: float | None, **values: float | None) -> dict[str, float | None]:
        return {name: None for name in METRICS} | {"PSNR": psnr} | values

    table = {
        MODEL: row(model, MSE=0.02, SSIM=0.9),
        STITCH: row(stitch, MSE=0.001, SSIM=0.8),
        TRUTH: row(None) | {"seam error": math.nan},
    }
    rows = {name: [{"PSNR": math.nan if name == TRUTH else 20.0}] * 2 for name in table}
    noise = torch.Generator().manual_seed(0)

    def picture(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8)

    shown = [
        Shown(name, picture(4, 3, 8, 8), {method: picture(3, 8, 16) for method in table})
        for name in ("a.jpg", "<b> & c.jpg")
    ]
    notes = ["FID needs inception.pth; download https://example.org/inception.pth"]
    return Evaluation(protocol, 2, table, rows, [s.name for s in shown], notes, shown)


ENTRIES = [
    {"kind": "train", "step": 1, "epoch": 0, "total": 1.5, "kl": 9.0, "lr": 1e-4},
    {"kind": "train", "step": 2, "epoch": 0, "total": 1.0, "kl": math.nan, "lr": 1e-4},
    {"kind": "eval", "step": 1, "protocol": "clean", "method": MODEL, "PSNR": 10.0},
    {"kind": "eval", "step": 1, "protocol": "clean", "method": STITCH, "PSNR": 28.5},
    {"kind": "eval", "step": 2, "protocol": "clean", "method": MODEL, "PSNR": 12.0},
    {"kind": "eval", "step": 2, "protocol": "clean", "method": STITCH, "PSNR": 28.5},
    {"kind": "eval", "step": 2, "protocol": "clean", "method": TRUTH, "PSNR": None},
]
ABOUT = {"data": "two <pictures> & more", "weights": "EMA of runs/jobs/small/last"}


@pytest.fixture
def page(tmp_path) -> Page:
    path = tmp_path / "out" / "report.html"
    both = [evaluation(), evaluation(16.0, 21.0, "jitter")]
    write_report(tmp_path / "runs" / "small", both, ENTRIES, ABOUT, path)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return Page(path.read_text(encoding="utf-8"))


def test_it_loads_nothing_and_runs_nothing(page):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on"), "no event handlers"
            if name.split(":")[-1] in LOADING:
                assert value is not None and value.startswith(("data:image/", "#")), (name, value)
            assert "url(http" not in (value or "")
    policy = next(a for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in (policy["content"] or "")


def test_all_pictures_decode_at_their_stated_size(page):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    # per protocol two samples of four views, three panoramas and the model's error
    assert len(pictures) == 2 * 2 * 8
    for attributes in pictures:
        kind, data = (attributes["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        picture.load()
        assert picture.size == (int(attributes["width"] or 0), int(attributes["height"] or 0))
        assert attributes["alt"]


def test_a_picture_is_shown_as_it_is(page):
    expected = evaluation().shown[0].views[0].permute(1, 2, 0).numpy()
    first = next(attributes["src"] or "" for tag, attributes in page.tags if tag == "img")
    picture = Image.open(io.BytesIO(base64.b64decode(first.split(",")[1])))
    assert picture.tobytes() == expected.tobytes()


def test_tables_have_every_method_and_metric(page):
    heads = [row[1:] for row in page.rows if row[0] == "metric"]
    assert heads == [[MODEL, STITCH, TRUTH]] * 2
    labels = [row[0] for row in page.rows if row[0] != "metric"]
    for metric in METRICS:
        assert sum(label.startswith(metric) for label in labels) >= 2, metric
    psnr = next(row for row in page.rows if row[0].startswith("PSNR, dB ↑"))
    assert psnr[1:] == ["17.25", "28.50", "n/a1"]


def test_what_is_missing_is_na_with_its_reason(page):
    assert "nan" not in page.words.lower().replace("panorama", "")
    assert "None" not in page.words
    fid = next(row for row in page.rows if row[0].startswith("FID"))
    assert [text[:3] for text in fid[1:]] == ["n/a"] * 3
    assert page.words.count("FID needs inception.pth") == 1, "a reason is given once"
    seam = next(row for row in page.rows if row[0].startswith("seam error"))
    assert seam[3].startswith("n/a"), "NaN is no number"


def test_the_better_of_model_and_stitch_is_bold(tmp_path):
    path = tmp_path / "report.html"
    write_report(tmp_path / "small", [evaluation()], [], {}, path)
    text = path.read_text(encoding="utf-8")
    assert "<b>28.50</b>" in text and "<b>17.25</b>" not in text  # PSNR: higher is better
    assert "<b>0.0010</b>" in text and "<b>0.0200</b>" not in text  # MSE: lower is better
    assert "<b>0.9000</b>" in text  # SSIM: the model's


def test_text_from_outside_is_escaped(page):
    assert "<b> & c.jpg" in page.words and "two <pictures> & more" in page.words


def test_curves_are_inline_and_follow_the_pages_colour(page):
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    names = [value for _, a in page.tags for key, value in a.items() if key == "id"]
    assert len(names) == len(set(names)), "two charts must not share names"
    styles = " ".join(attributes.get("style") or "" for _, attributes in page.tags)
    assert "currentColor" in styles and "#010203" not in styles


def test_a_folder_in_its_place_is_said(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(SpiderEyeError, match=r"report\.html: cannot be written"):
        write_report(tmp_path / "small", [], [], {}, tmp_path / "report.html")


def test_it_is_written_without_results_too(tmp_path):
    path = tmp_path / "report.html"
    write_report(tmp_path / "small", [], [], {}, path)
    assert "Nothing was evaluated" in Page(path.read_text(encoding="utf-8")).words


@pytest.mark.parametrize(
    ("model", "stitch", "said"),
    [
        (17.0, 28.0, "stitch of the same views beats the model (ema) by 11.0 dB"),
        (31.0, 28.0, "model (ema) beats the geometric stitch of the same views by 3.0 dB"),
        (28.01, 28.0, "level, at 28.0 dB"),
        (None, 28.0, "could not be computed"),
    ],
)
def test_who_wins_is_read_from_the_numbers(model, stitch, said):
    assert said in findings([evaluation(model, stitch)])[0]


def test_metrics_that_disagree_are_named():
    first = findings([evaluation(17.0, 28.0)])[0]
    assert first.endswith("By SSIM it is the other way round.")
    assert findings([evaluation(31.0, 28.0)])[0].endswith("By MSE it is the other way round.")


def test_the_trend_is_read_from_the_log():
    said = findings([evaluation()], ENTRIES)
    rising = "from 10.0 dB at step 1 to 12.0 dB at step 2 and was still rising"
    assert any(rising in line for line in said)
    falling = [*ENTRIES, {**ENTRIES[2], "step": 3, "PSNR": 11.0}]
    assert any(
        "its best was 12.0 dB, at step 2" in line for line in findings([evaluation()], falling)
    )


def test_curves_leave_out_what_is_no_number():
    assert loss_curves(ENTRIES) == {"total": [(1, 1.5), (2, 1.0)], "kl": [(1, 9.0)]}
    assert metric_curves(ENTRIES) == {MODEL: [(1, 10.0), (2, 12.0)], STITCH: [(1, 28.5), (2, 28.5)]}
