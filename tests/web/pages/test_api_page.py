"""The API's documentation: its order, its samples in three languages, its codes, on a computer and on a phone."""

import asyncio
import html
import os
import re
import shutil
import sys
from pathlib import Path

import httpx
import pytest

import photos
from conftest import running_application
from gallery.web.catalogue import catalogue
from gallery_processes import base_environment

SAMPLE = re.compile(r'<pre class="sample (\w+)"[^>]*><code>(.*?)</code></pre>', re.DOTALL)
OPERATION = re.compile(r'<article id="(\w+)">(.*?)</article>', re.DOTALL)
READY = ["uploadImage", "listImages", "getImage", "editImage", "getDownloadLink", "signLinks", "getTimeline"]
BYTES = ["getOriginal"]
OTHERS = [
    "createStreamTicket",
    "signOut",
    "getHealth",
    "getLiveness",
    "getReadiness",
    "getMetrics",
    "getQueue",
    "getScalingAdvice",
    "clearCache",
]
ADMIN = ["listFailed", "retryAllFailed", "dropAllFailed", "listFailedJobs", "pauseQueue", "resumeQueue"]
DOM = """
globalThis.document = {
  querySelector: () => ({ files: [new File([readFileSync("photo.jpg")], "photo.jpg", { type: "image/jpeg" })] }),
};
"""


@pytest.fixture(scope="module")
def page(stack) -> str:
    return httpx.get(f"{stack.url}/api").text


def samples(text: str, language: str) -> dict[str, str]:
    """Of each operation, and of `setup`."""
    found = {name: dict(SAMPLE.findall(body)) for name, body in OPERATION.findall(text)}
    found["setup"] = dict(SAMPLE.findall(text.partition('<section id="start">')[2].partition("</section>")[0]))
    return {name: html.unescape(codes[language]) for name, codes in found.items() if codes}


async def run(folder: Path, *command: str) -> str:
    """The output of a program, which must not fail."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=base_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode() + out.decode()
    return out.decode()


@pytest.fixture
def sample_dir(stack, tmp_path):
    """An uploaded photo, whose id the samples use."""
    (tmp_path / "photo.jpg").write_bytes(photos.a_jpeg(seed=int.from_bytes(os.urandom(4))))
    with (tmp_path / "photo.jpg").open("rb") as file:
        answer = httpx.post(f"{stack.url}/api/v1/images", files={"file": file}, timeout=30)
    (tmp_path / "id").write_text(answer.json()["id"])
    return tmp_path


def script(page: str, stack, sample_dir: Path, language: str, print_line: str) -> str:
    """The samples of the main calls after another; `say` prints a line between them."""
    found = samples(page, language)
    setup = re.sub(r"http://127\.0\.0\.1:\d+", stack.url, found["setup"]).replace("…", (sample_dir / "id").read_text())
    wrap = "{{\n{}\n}}\n" if language == "javascript" else "{}\n"
    calls = (
        wrap.format(found[name]) + print_line.format(name) for name in [*READY, *BYTES, *OTHERS, *ADMIN, "deleteImage"]
    )
    return f"{setup}\n{''.join(calls)}"


async def test_the_samples_in_curl_work_as_they_stand(page, stack, sample_dir):
    text = script(page, stack, sample_dir, "curl", "echo; echo done {}\n").replace("curl ", "curl -sSf ")
    (sample_dir / "samples.sh").write_text(f"set -eu\n{text}")
    output = await run(sample_dir, "bash", "samples.sh")
    assert len(re.findall("^done ", output, re.MULTILINE)) == len([*READY, *BYTES, *OTHERS, *ADMIN]) + 1
    assert (sample_dir / "picture").read_bytes() == (sample_dir / "photo.jpg").read_bytes()


async def test_the_samples_in_python_work_as_they_stand(page, stack, sample_dir):
    (sample_dir / "samples.py").write_text(script(page, stack, sample_dir, "python", "print('done {}')\n"))
    output = await run(sample_dir, sys.executable, "samples.py")
    assert output.count("\ndone ") == len([*READY, *BYTES, *OTHERS, *ADMIN]) + 1


async def test_the_samples_in_javascript_work_as_they_stand(page, stack, sample_dir):
    node = shutil.which("node")
    if node is None:
        pytest.skip("There is no Node here.")
    text = script(page, stack, sample_dir, "javascript", "console.log('done {}');\n")
    (sample_dir / "samples.mjs").write_text(f'import {{ readFileSync }} from "node:fs";\n{DOM}{text}')
    output = await run(sample_dir, node, "samples.mjs")
    assert output.count("done ") == len([*READY, *BYTES, *OTHERS, *ADMIN]) + 1


async def test_every_sample_is_sound(page, tmp_path):
    """Those that the tests do not run can be read by their programs all the same."""
    curl, python, javascript = (samples(page, language) for language in ("curl", "python", "javascript"))
    assert len(curl) > 30
    (tmp_path / "all.sh").write_text("\n".join(curl.values()))
    await run(tmp_path, "bash", "-n", "all.sh")
    for code in python.values():
        compile(code, "sample", "exec")
    if node := shutil.which("node"):
        (tmp_path / "all.mjs").write_text("\n".join(f"{{\n{code}\n}}" for code in javascript.values()))
        await run(tmp_path, node, "--check", "all.mjs")


def test_the_stream_is_shown_with_a_ticket_where_no_header_can_be_sent(page):
    code = samples(page, "javascript")["streamEvents"]
    assert "/api/v1/notifications/ticket" in code
    assert "new EventSource(" in code
    assert 'addEventListener("image.ready"' in code


def test_images_come_first_and_administration_last(page):
    sections = re.findall(r'<section id="([\w-]+)">', page)
    assert sections[:5] == ["start", "images", "uploads", "notifications", "access"]
    assert sections[-2:] == ["administration", "schemas"]
    assert next(name for name, _ in OPERATION.findall(page)) == "uploadImage"


def test_the_errors_are_folded(page):
    for name, body in OPERATION.findall(page):
        if SAMPLE.search(body):
            shown = body.partition('<details class="errors">')[0]
            assert not re.search(r'class="status">[45]\d\d<', shown), name


async def test_the_type_of_each_problem_links_to_its_code(stack):
    async with httpx.AsyncClient(base_url=stack.url) as client:
        problem = (await client.get("/api/v1/images/none")).json()
        text = (await client.get(problem["type"].partition("#")[0])).text
    ids = re.findall(r'<tr id="(\w+)">', text)
    assert problem["type"].partition("#")[2] == problem["code"]
    assert problem["code"] in ids
    assert ids == [entry.code for entry in catalogue()]
    assert len(set(ids)) == len(ids)


async def test_with_a_public_url_types_and_samples_are_absolute(environment):
    async with running_application(environment, GALLERY_PUBLIC_URL="https://img.example.org") as (_, client):
        problem = (await client.get("/api/v1/images/none")).json()
        early = (await client.get("/api/v1/images", headers={"Host": "evil.example"})).json()
        page = (await client.get("/api")).text
    assert problem["type"] == "https://img.example.org/api/errors#image_not_found"
    assert early["type"] == "https://img.example.org/api/errors#foreign_host"
    assert "GALLERY=https://img.example.org" in page


async def test_one_choice_shows_all_samples_in_a_language(open_page, stack):
    visit = await open_page(stack.url, java_script_enabled=False)
    await visit.page.goto("/api")
    shown = visit.page.locator("#getImage .sample:visible")
    assert await shown.count() == 1
    assert "curl " in await shown.inner_text()
    await visit.page.locator("label", has_text="JavaScript").click()
    assert await shown.count() == 1
    assert "await fetch(" in await shown.inner_text()


async def test_on_a_phone_the_contents_are_there_and_nothing_overflows(open_page, stack):
    visit = await open_page(stack.url)
    await visit.page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/api", "/api/errors"):
        await visit.page.goto(path)
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    await visit.page.goto("/api")
    link = visit.page.locator(".narrow a[href='#listFailed']")
    assert not await link.is_visible()
    await visit.page.locator(".narrow summary").click()
    await link.click()
    assert await visit.page.locator("#listFailed h3").is_visible()
    assert await visit.find_errors() == []
