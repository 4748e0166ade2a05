"""`gallery-client/element` as a package: on a server, under another name, before its definition, and its size."""

import gzip
import subprocess
from pathlib import Path

from playwright.async_api import expect

import javascript_client

MAX_BYTES = 10_000  # gzipped, beside the core
IMPORT = """
    import { defineGalleryUpload, GalleryUploadElement, german } from "./dist/element/index.js";
    defineGalleryUpload();
    console.log(JSON.stringify([typeof GalleryUploadElement, german.locale]));
"""
ENTRY = 'export {{ defineGalleryUpload }} from "{}";'


async def test_on_a_server_it_does_nothing():
    assert await javascript_client.evaluate(IMPORT) == ["function", "de"]


def test_it_is_small(kit, tmp_path):
    entry = tmp_path / "entry.js"
    entry.write_text(ENTRY.format(kit / "element/index.js"))
    folder = javascript_client.FOLDER / "node_modules"
    options = [
        "--bundle",
        "--splitting",
        "--minify",
        "--format=esm",
        "--external:../index.js",
        f"--outdir={tmp_path / 'out'}",
    ]
    subprocess.run([folder / ".bin/esbuild", entry, *options, "--log-level=error"], check=True, cwd=kit)
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in Path(tmp_path / "out").iterdir()}
    tickets = sum(size for name, size in sizes.items() if name.startswith("tickets"))
    print(f"the element has {sum(sizes.values()) - tickets} bytes, its tickets {tickets}")  # noqa: T201
    assert sum(sizes.values()) - tickets <= MAX_BYTES


async def test_nothing_is_registered_by_importing(open_uploads):
    uploads = await open_uploads("<my-photos></my-photos>", root="data-later")
    await uploads.wait_until("window.defineGalleryUpload")
    assert await uploads.page.evaluate("customElements.get('gallery-upload') === undefined")
    await uploads.page.evaluate("defineGalleryUpload('my-photos'); defineGalleryUpload(); defineGalleryUpload()")
    await expect(uploads.page.locator("my-photos").get_by_role("button", name="Choose a photo")).to_be_visible()
    assert await uploads.page.evaluate("customElements.get('gallery-upload') !== undefined")


async def test_properties_that_are_set_before_the_definition_hold(open_uploads):
    uploads = await open_uploads("<gallery-upload></gallery-upload>", root="data-later")
    await uploads.wait_until("window.defineGalleryUpload")
    await uploads.page.evaluate(
        """() => {
            const element = document.querySelector("gallery-upload");
            Object.assign(element, { multiple: true, messages: german, maxFiles: 3, tags: ["a", "b"], auth: "token" });
            defineGalleryUpload();
        }"""
    )
    await expect(uploads.button("Fotos auswählen")).to_be_visible()
    state = "({ multiple, maxFiles, tags, auth }) => [multiple, maxFiles, tags, auth]"
    assert await uploads.element.evaluate(state) == [True, 3, ["a", "b"], "token"]
    assert await uploads.element.get_attribute("max-files") == "3"
    assert await uploads.element.evaluate("(element) => Object.hasOwn(element, 'multiple')") is False
