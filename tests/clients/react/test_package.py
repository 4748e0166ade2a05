"""`gallery-client/react` as it is published: its size, its types, and that servers can render it."""

import base64
import gzip
import io
import json
import subprocess

import pytest
from PIL import Image
from playwright.async_api import expect

import javascript_client
from factories import post, wait_until_settled
from javascript_client import DIST, FOLDER, NODE
from react_pages import ESBUILD, PAGES, REACT, bundle, new_page
from thumbhashes import VECTORS

MAX_BYTES = 5200  # compressed
MAX_DECODER_BYTES = 1024  # of these
USES = """
    import { createGallery, type Image } from "gallery-client";
    import { GalleryImage, GalleryProvider, useImage, useImages, useUpload } from "gallery-client/react";
    import { createRef } from "react";
    const gallery = createGallery({ url: "https://img.example.org" });
    export function App({ image }: { image: Image }) {
      const { images, more, hasMore }: { images: readonly Image[]; more: () => void; hasMore: boolean } = useImages();
      const { image: one } = useImage(image.id, { signed: true });
      const { items, add, progress } = useUpload({ fields: { tags: ["a"] } });
      // @ts-expect-error: `src` is made from the image
      const wrong = <GalleryImage image={image} src="a.jpg" />;
      return (
        <GalleryProvider gallery={gallery}>
          <GalleryImage image={one ?? image} ref={createRef<HTMLImageElement>()} fetchPriority="high" sizes="50vw" />
          <button type="button" onClick={() => hasMore && more()}>{images.length + items.length}</button>
          <input type="file" onChange={(event) => add(event.target.files ?? [])} />{progress.share}{wrong}
        </GalleryProvider>
      );
    }
"""


def compressed_size(*externals: str, entry: str = "index.js") -> int:
    javascript_client.build()
    command = [ESBUILD, DIST / "react" / entry, "--bundle", "--minify", "--format=esm", "--target=es2022"]
    names = ("react", "react/jsx-runtime", "../queue.js", *externals)
    code = subprocess.run([*command, *(f"--external:{name}" for name in names)], capture_output=True, check=True)
    return len(gzip.compress(code.stdout, 9))


def test_it_is_small():
    sizes = {
        "hooks and component": compressed_size("./thumbhash.js"),
        "decoder of placeholders": compressed_size(entry="thumbhash.js"),
        "together": compressed_size(),
    }
    print(sizes)  # noqa: T201
    assert sizes["together"] <= MAX_BYTES, sizes
    assert sizes["decoder of placeholders"] <= MAX_DECODER_BYTES, sizes


def test_a_server_component_may_import_it():
    javascript_client.build()
    assert (DIST / "react/index.js").read_text().startswith('"use client";')


@pytest.mark.parametrize("react", [19, 18])
def test_its_types_fit(react, tmp_path):
    javascript_client.build()
    if not (REACT[react] / "@types/react").is_dir():
        pytest.skip(f"React {react} is not installed: tests/install-tools does that with npm")
    (tmp_path / "app.tsx").write_text(USES)
    paths = {
        "gallery-client": [str(DIST / "index.d.ts")],
        "gallery-client/react": [str(DIST / "react/index.d.ts")],
        "react": [str(REACT[react] / "@types/react")],
        "react/*": [str(REACT[react] / "@types/react/*")],
    }
    options = {
        "strict": True, "exactOptionalPropertyTypes": True, "noEmit": True, "jsx": "react-jsx", "target": "es2022",
        "module": "esnext", "moduleResolution": "bundler", "lib": ["es2022", "dom", "dom.iterable"], "paths": paths,
        "types": [],
    }  # fmt: skip
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["app.tsx"]}))
    program = FOLDER / "node_modules/typescript/bin/tsc"
    done = subprocess.run([str(NODE), program, "-p", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


async def test_placeholders_are_decoded_as_by_the_reference():
    hashes = [base64.b64encode(vector.hashed).decode() for vector in VECTORS]
    module = (DIST / "react/thumbhash.js").as_uri()
    script = f"""
        import {{ thumbhashUrl }} from "{module}";
        console.log(JSON.stringify({json.dumps(hashes)}.map(thumbhashUrl)));
    """
    for vector, url in zip(VECTORS, await javascript_client.evaluate(script), strict=True):
        kind, _, content = url.partition(",")
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        picture.load()  # checks the sums of the file
        width, height, pixels = vector.decoded
        assert (kind, *picture.size) == ("data:image/png;base64", width, height)
        assert max(abs(a - b) for a, b in zip(picture.convert("RGBA").tobytes(), pixels, strict=True)) <= 1, vector


@pytest.mark.parametrize("react", [19, 18])
async def test_a_server_renders_it_and_a_browser_goes_on(stack, http, browser, script_of, tmp_path, tag, react):
    for title in ("A", "B"):
        await wait_until_settled(http, (await post(http, title=title, tags=tag)).json()["id"])
    images = (await http.get("/api/v1/images", params={"tag": tag})).json()
    props = {"filter": {"tags": [tag]}, "initial": {"images": images, "cursor": None}}
    server = await bundle(PAGES / "server.jsx", tmp_path, react, "--platform=node")
    wanted = json.dumps({"scene": "Rendered", "props": props, "url": stack.url})
    code, output = await javascript_client.run_node([str(server), wanted], {})
    assert code == 0, output
    html = json.loads(output)
    assert html.count("<img ") == 2
    assert f"background:{images[0]['placeholder']['color']}" in html
    assert 'type="image/webp"' in html
    assert "data:image/png" not in html
    page = await new_page(browser, stack.url, await script_of(react))
    await page.open_rendered(html, "Rendered", **props)
    assert await page.page.evaluate("reactVersion.split('.')[0]") == str(react)
    await page.page.wait_for_function("document.querySelector('img').naturalWidth > 0")
    newer = (await post(http, title="Newer", tags=tag)).json()["id"]
    await expect(page.page.locator("img")).to_have_count(3, timeout=30_000)
    assert newer in str(await page.page.locator("img").first.get_attribute("src"))
    assert page.problems == []
    await page.page.context.close()
