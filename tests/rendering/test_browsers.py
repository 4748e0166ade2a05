"""Renditions look as their originals do in a browser: Chromium draws both, and the pixels are compared.

The hundred or so pictures have every two properties of their format together in at least one file. Some are left out,
since Chromium differs from other browsers: it ignores EXIF orientation in WebP and `clap` in AVIF, shows no AVIF with
an unusable profile, and applies profiles of RGB to gray PNGs, where the PNG specification forbids them.
"""

import base64
from collections.abc import AsyncIterator

import numpy as np
import pytest
from playwright.async_api import Page

from browsers import chromium
from rendering import sample_files
from rendering.conftest import RenderFile

MAX_DIFFERENCE = 3  # of 255, on average
MAX_HDR_DIFFERENCE = 8
DRAW = """async (url) => {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let text = "";
    for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
    return { width: canvas.width, height: canvas.height, pixels: btoa(text) };
}"""


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with chromium() as browser:
        yield await browser.new_page()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "gif", "avif", "heic"])
async def test_renditions_look_as_the_original_does_in_a_browser(render_file: RenderFile, page: Page, format_name: str):
    strange = {}
    for kind in sample_files.generate(format_name):
        rendered = render_file(kind.file)
        original = await _drawn(page, kind.reference, kind.mime)
        webp = await _drawn(page, rendered.file("320", "webp"), "image/webp")
        jpeg = await _drawn(page, rendered.file("320", "jpeg"), "image/jpeg")
        assert original.shape == webp.shape == jpeg.shape, kind.name
        pairs = ((original, webp, 255), (original, webp, 0), (original, jpeg, 255))
        difference = max(np.abs(_on(one, ground) - _on(other, ground)).mean() for one, other, ground in pairs)
        if difference > (MAX_HDR_DIFFERENCE if kind.hdr else MAX_DIFFERENCE):
            strange[kind.name] = round(float(difference), 1)
    assert strange == {}


async def _drawn(page: Page, file: bytes, mime: str) -> np.ndarray:
    """RGBA as the browser shows it, in sRGB."""
    drawn = await page.evaluate(DRAW, f"data:{mime};base64,{base64.b64encode(file).decode()}")
    pixels = np.frombuffer(base64.b64decode(drawn["pixels"]), np.uint8)
    return pixels.reshape(drawn["height"], drawn["width"], 4)


def _on(rgba: np.ndarray, ground: int) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + ground * (1 - alpha)
