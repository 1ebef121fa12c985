"""The page in a real browser: upload, progress, looking around, overlay, download; wide and narrow.

Needs Chromium, and the page built by `make page`; skips without them.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made_checkpoints import tiny_checkpoint
from PIL import Image
from test_server import NAMES, Served, png, shot

from spidereye.server.app import create_app
from spidereye.server.models import Models

PAGE = Path(__file__).parent.parent / "spidereye" / "server" / "page" / "index.html"
CHROMIUM = shutil.which("chromium")
SOFTWARE = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
SOFTWARE += ["--enable-unsafe-swiftshader"]  # WebGL without a GPU

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not PAGE.is_file(), reason="the page is not built: make page"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator:
    from playwright.sync_api import sync_playwright

    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("served"))
    models = Models.load({"tiny": str(checkpoint)}, {})
    with Served(create_app(models)) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        page.said = []  # type: ignore[attr-defined]
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(served.url)
        page.wait_for_selector("#model option", state="attached")
        yield page
        browser.close()


def stitched(page) -> str:
    page.wait_for_function("document.querySelector('#status').textContent.startsWith('done')")
    page.wait_for_selector("#viewer canvas")
    page.wait_for_timeout(500)
    return page.text_content("#status")


def looked(page) -> np.ndarray:
    """The viewer as it is drawn now; a canvas whose size just changed is empty for a moment."""
    for _ in range(20):
        shown = page.locator("#viewer canvas").first.screenshot()
        picture = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(float)
        if picture.std() > 2:
            return picture
        page.wait_for_timeout(500)
    raise AssertionError("the viewer shows nothing")


def slide(page, name: str, value: float) -> None:
    script = """([name, value]) => {
      const slider = document.getElementById(name);
      slider.value = value;
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    page.evaluate(script, [name, str(value)])
    page.wait_for_timeout(1500)


def test_upload_look_around_overlay_and_download(page, tmp_path):
    uploads = [
        {"name": f"{name}.png", "mimeType": "image/png", "buffer": png(view)}
        for name, view in zip(NAMES, shot(0), strict=True)
    ]
    page.set_input_files("#files", uploads)
    assert page.locator("#thumbnails img").count() == 4
    page.select_option("#rig", "spider4")
    page.click("#stitch")
    assert "done in" in stitched(page)
    first = looked(page)
    assert first.std() > 10
    box = page.locator("#viewer").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 260, steps=8)
    page.mouse.up()
    page.wait_for_timeout(1500)
    dragged = looked(page)
    assert np.abs(dragged - first).mean() > 5
    page.focus("#viewer")
    page.keyboard.press("ArrowLeft", delay=400)
    page.wait_for_timeout(1500)
    turned = looked(page)
    assert np.abs(turned - dragged).mean() > 2
    slide(page, "overlay", 1)
    covered = looked(page)
    assert np.abs(covered - turned).mean() > 20
    slide(page, "overlay", 0)
    assert np.abs(looked(page) - turned).mean() < 2
    assert page.is_visible("#mix-label")
    slide(page, "mix", 0)
    assert np.abs(looked(page) - turned).mean() > 0.5  # the stitch is sharper than a tiny model
    with page.expect_download() as download:
        page.click("#download")
    path = tmp_path / "panorama.jpg"
    download.value.save_as(path)
    data = path.read_bytes()
    assert b"equirectangular" in data and Image.open(path).size == (64, 32)


def test_a_lens_is_set_with_sliders_and_mistakes_are_said(page):
    page.select_option("#rig", label="by lens …")
    pictures = []
    for fov in (160, 200):
        slide(page, "fov", fov)
        page.wait_for_timeout(4000)
        assert page.text_content("#status").startswith("preview")
        pictures.append(looked(page))
    top = min(len(picture) for picture in pictures)  # notes take more room or less below
    assert np.abs(pictures[0][:top] - pictures[1][:top]).mean() > 2
    text = {"name": "front.jpg", "mimeType": "image/jpeg", "buffer": b"no picture" * 50}
    page.set_input_files("#files", [text])
    page.select_option("#rig", "spider4")
    page.click("#stitch")
    page.wait_for_selector("#status.wrong")
    assert "front.jpg" in page.text_content("#status")


def test_a_sample_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    page.select_option("#sample", "scene 1")
    stitched(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#viewer").bounding_box()["width"] > 340
    long_names = [
        {"name": f"{'courtyard_' * 9}{name}.png", "mimeType": "image/png", "buffer": png(view)}
        for name, view in zip(NAMES, shot(0), strict=True)
    ]
    page.set_input_files("#files", long_names)
    assert page.locator("#thumbnails img").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1440, "height": 900})


def test_the_console_is_silent(page):
    """The last of these tests: but for the picture that was none, which the browser reports."""
    wrong = [text for text in page.said if "415" not in text and "GPU stall" not in text]
    assert wrong == []
