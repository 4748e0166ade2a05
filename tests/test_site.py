"""The documentation as a site: it loads no foreign file, can be searched offline, and has no broken link."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from browsers import chromium
from gallery_processes import base_environment

ROOT = Path(__file__).parents[1]
FOREIGN = re.compile(r"<(?:script|link|img|source|iframe)\b[^>]*\b(?:src|href|srcset)=[\"']?(?:https?:)?//[^>]*>")


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", config, "--site-dir", site],
        env={**base_environment(), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert {page.name: found for page in pages if (found := FOREIGN.findall(page.read_text()))} == {}


async def test_a_page_is_complete_and_found_without_a_network(site):
    async with chromium() as browser:
        context = await browser.new_context(offline=True)
        page = await context.new_page()
        requested, errors = [], []
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto((site / "index.html").as_uri())
        assert await page.locator("figure.diagram svg").count() == 2
        await page.locator("input[name=query]").fill("pgbouncer")
        await page.locator(".md-search-result__item").first.wait_for(state="attached")
        assert "pgbouncer" in await page.locator(".md-search-result__item a").first.get_attribute("href")
        assert [url for url in requested if not url.startswith(("file:", "data:", "blob:"))] == []
        assert errors == []


def test_a_broken_link_ends_the_build(tmp_path):
    """Each warning does: one for a missing page, one for a missing anchor."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("\n[no page](nowhere.md) [no anchor](start.md#nowhere)\n")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode == 1
    warnings = [line for line in built.stderr.splitlines() if line.startswith("WARNING")]
    assert [re.findall(r"'(index\.md)' contains a link '([^']+)'", line) for line in warnings] == [
        [("index.md", "nowhere.md")],
        [("index.md", "start.md#nowhere")],
    ]


def test_each_page_lies_beside_its_markdown(site):
    for link in re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text()):
        assert (site / link).is_file()
