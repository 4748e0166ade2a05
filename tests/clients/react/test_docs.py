"""The code of docs/app/react.md, as it stands there."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from factories import post, unique_photo, wait_until_settled
from react_pages import ReactPage, bundle, new_page

PAGE = Path(__file__).parents[3] / "docs/app/react.md"
ADDRESS = "http://127.0.0.1:3000"
ALL = """
    import { createGallery } from "gallery-client";
    import { GalleryProvider, useImage, useImages } from "gallery-client/react";
    import { createRoot } from "react-dom/client";
    import { Album, Title } from "./album.jsx";
    import { Pictures } from "./pictures.jsx";
    import { Private } from "./private.jsx";
    import { Rendered } from "./rendered.jsx";
    import { Uploads } from "./uploads.jsx";
    function Both({ id }) {
      const { image } = useImage(id);
      return image ? <><Pictures image={image} /><Rendered firstPage={{ images: [image], cursor: null }} /></> : null;
    }
    const { album, id } = Object.fromEntries(new URLSearchParams(location.search));
    createRoot(document.getElementById("root")).render(
      <GalleryProvider gallery={createGallery({ url: location.origin })}>
        <Uploads album={album} /><Album album={album} /><Title id={id} /><Both id={id} /><Private />
      </GalleryProvider>,
    );
"""


@pytest.fixture
def folder(stack, tmp_path) -> Path:
    """The blocks of the page, each in the file that its first line names."""
    blocks = re.findall(r"^```jsx\n// (\S+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == PAGE.read_text().count("```jsx\n") == 7
    for name, code in [*blocks, ("all.jsx", ALL)]:
        (tmp_path / name).write_text(code.replace(ADDRESS, stack.url))
    return tmp_path


async def choose(page: ReactPage) -> None:
    file = {"name": "lake.jpg", "mimeType": "image/jpeg", "buffer": unique_photo()}
    await page.page.locator("input[type=file]").set_input_files([file])


async def test_the_first_app(stack, http, browser, folder):
    page = await new_page(browser, stack.url, await bundle(folder / "main.jsx", folder, 19))
    await page.open("")
    await choose(page)
    await expect(page.page.locator("p", has_text="lake.jpg: ready")).to_be_visible(timeout=30_000)
    (newest,) = (await http.get("/api/v1/images", params={"limit": 1})).json()
    await page.page.wait_for_function(f"document.querySelector('img[src*=\"{newest['id']}\"]')?.naturalWidth > 0")
    await page.page.context.close()


async def test_the_other_examples(stack, http, browser, folder, tag):
    answer = await post(http, title="Lake", tags=tag)
    image = await wait_until_settled(http, answer.json()["id"])
    page = await new_page(browser, stack.url, await bundle(folder / "all.jsx", folder, 19))
    await page.serve()
    await page.page.goto(f"{stack.url}/react?album={tag}&id={image['id']}")
    await expect(page.page.locator("h1")).to_have_text("Lake", timeout=15_000)
    await expect(page.page.locator("li")).to_have_text(["Lake"], timeout=15_000)
    await page.page.wait_for_function("[...document.images].filter((img) => img.naturalWidth).length > 4")
    await choose(page)
    await expect(page.page.locator("p")).to_contain_text(["lake.jpg: ready"], timeout=30_000)
    await expect(page.page.locator("li")).to_have_count(2)
    await page.page.context.close()
