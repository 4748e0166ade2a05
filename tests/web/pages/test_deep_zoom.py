"""OpenSeadragon, a viewer with deep zoom, on an image's IIIF service."""

from pathlib import Path

import httpx
import pytest

import photos
from factories import post, wait_until_settled
from page_actions import unique_name

VIEWER = Path(__file__).parents[2] / "supertest/node_modules/openseadragon/build/openseadragon/openseadragon.min.js"
OPEN = """
    (source) => new Promise((resolve, reject) => {
        const viewer = OpenSeadragon({ id: "viewer", tileSources: source, showNavigationControl: false,
                                       animationTime: 0, immediateRender: true });
        window.viewer = viewer;
        window.tiles = new Set();
        window.failures = [];
        viewer.addHandler("tile-loaded", (event) => tiles.add(event.tile.getUrl()));
        viewer.addHandler("tile-load-failed", (event) => failures.push(event.message));
        viewer.addHandler("open-failed", (event) => reject(new Error(event.message)));
        viewer.addHandler("open", () => resolve(viewer.world.getItemAt(0).getContentSize().toString()));
    })
"""


async def test_a_viewer_zooms_into_the_last_pixel(browser, stack, tmp_path):
    if not VIEWER.exists():
        pytest.skip("OpenSeadragon is not installed: tests/install-tools does that with npm")
    async with httpx.AsyncClient(base_url=stack.url, timeout=60) as client:
        picture, title = photos.a_jpeg(3000, 2000, seed=5), unique_name("Zoom")  # the gallery is shared with others
        image = (await post(client, picture, title=title, visibility="public")).json()["id"]
        await wait_until_settled(client, image, seconds=60)
    page = await browser.new_page(viewport={"width": 800, "height": 600})
    await page.set_content('<div id="viewer" style="width: 800px; height: 600px"></div>')
    await page.add_script_tag(path=VIEWER)
    assert await page.evaluate(OPEN, f"{stack.url}/iiif/3/{image}/info.json") == "(3000,2000)"
    await page.wait_for_function("tiles.size >= 4 && viewer.world.getItemAt(0).getFullyLoaded()")
    await page.evaluate("viewer.viewport.zoomTo(viewer.viewport.imageToViewportZoom(1), null, true)")
    await page.wait_for_function("[...tiles].some((url) => url.includes(',512,512/512,512/'))")  # pixel by pixel
    await page.wait_for_function("viewer.world.getItemAt(0).getFullyLoaded()")
    assert await page.evaluate("failures") == []
    await page.screenshot(path=tmp_path / "zoomed.png")
    await page.close()
