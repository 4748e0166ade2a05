"""The code of docs/app, as it stands there: a browser uploads, follows the events and shows the picture."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from factories import unique_photo
from gallery_processes import base_environment

APP = Path(__file__).parents[3] / "docs" / "app"
ADDRESS = "http://127.0.0.1:3000"
HTML = "<!doctype html><title>app</title><body></body>"
STORY = """
    async (bytes) => {
      const { follow, picture, privatePictures, upload } = await import("/app.js");
      const authorization = async () => "Bearer none"; // Gallery is open
      const heard = [];
      const stop = await new Promise((resolve) => {
        const ends = follow(location.origin, authorization, {
          onEvent: (type, event) => heard.push([event.imageId, type]),
          onReset: () => setTimeout(() => resolve(ends)),
        });
      });
      const shares = [];
      const file = new File([new Uint8Array(bytes)], "lake.jpg");
      const options = { title: "Lake", onProgress: (share) => shares.push(share) };
      const uploaded = await upload(location.origin, authorization, file, options);
      while (!heard.some(([id, type]) => id === uploaded.id && type === "image.ready")) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      stop();
      const images = await privatePictures(location.origin, authorization);
      const shown = picture(images.find(({ id }) => id === uploaded.id), "100px");
      document.body.append(shown);
      const img = shown.querySelector("img");
      img.loading = "eager";
      await img.decode();
      const refused = await upload(location.origin, authorization, new File(["no picture"], "a.jpg")).catch((e) => e);
      return {
        title: uploaded.title,
        status: uploaded.status,
        share: shares.at(-1),
        width: img.naturalWidth,
        source: img.currentSrc,
        code: refused.code,
      };
    }
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (APP / page).read_text(), re.MULTILINE | re.DOTALL)


async def test_a_browser_uploads_follows_and_shows(stack, open_page):
    code = [*blocks("uploads.md", "js"), *blocks("events.md", "js"), *blocks("pictures.md", "js")]
    module = "".join(block for block in code if 'from "thumbhash"' not in block)
    visit = await open_page(stack.url)
    await visit.page.route("**/app", lambda route: route.fulfill(body=HTML, content_type="text/html"))
    await visit.page.route("**/app.js", lambda route: route.fulfill(body=module, content_type="text/javascript"))
    await visit.page.goto("/app")
    result = await visit.page.evaluate(STORY, list(unique_photo()))
    assert (result["title"], result["status"], result["share"]) == ("Lake", "PENDING", 1)
    assert result["code"] == "not_a_picture"
    assert result["width"] > 0
    assert "sig=" in result["source"]


@pytest.mark.parametrize("page", ["uploads.md", "events.md"])
def test_the_other_examples_work_as_they_stand(page, stack, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(unique_photo())
    examples = [[sys.executable, "-c", code] for code in blocks(page, "python")]
    examples += [["bash", "-euo", "pipefail", "-c", code] for code in blocks(page, "sh")]
    assert examples
    for command in examples:
        command[-1] = command[-1].replace(ADDRESS, stack.url)
        subprocess.run(command, cwd=tmp_path, env=base_environment(), check=True, timeout=30)
