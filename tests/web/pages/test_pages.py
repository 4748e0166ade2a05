"""The responses of the pages' URLs, without a browser."""

import re
from itertools import chain

import httpx
import pytest

from gallery.web import pages
from http_sockets import connect, read_rest


@pytest.mark.parametrize("accept", ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html", "TEXT/HTML;q=0.1"])
async def test_a_browser_gets_the_gallery(http: httpx.AsyncClient, accept):
    answer = await http.get("/", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "Accept" in answer.headers["vary"]
    assert "<title>Gallery</title>" in answer.text


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "text/*", "", "image/*", "text/html;q=0", "application/json,text/html;q=0.5"]
)
async def test_a_program_gets_json(http: httpx.AsyncClient, accept):
    answer = await http.get("/", headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"
    assert "Accept" in answer.headers["vary"]
    assert answer.json()["status"] == "ok"


async def test_so_does_a_client_without_accept(http: httpx.AsyncClient):
    async with connect(http.base_url) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b'"status":"ok"' in await read_rest(reader)


@pytest.mark.parametrize(
    "accept", ["text/html;q=inf", "text/html,*/*;q=1e999", "text/html;q=-inf", "a;q=nan,text/html"]
)
async def test_a_weight_without_sense_is_no_error(http: httpx.AsyncClient, accept):
    for path in ("/", "/admin/queues"):
        answer = await http.get(path, headers={"Accept": accept})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/", "/api"])
async def test_nothing_inline_runs_on_our_pages(http: httpx.AsyncClient, path):
    answer = await http.get(path, headers={"Accept": "text/html"})
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text), "all files come from this server"


def test_pictures_may_come_from_the_public_address():
    assert "img-src 'self' data: blob: https://img.example.org;" in pages.content_security_policy(
        "https://img.example.org"
    )


@pytest.mark.parametrize("page", ["/", "/api"])
async def test_the_files_of_a_page_exist_and_are_revalidated(http: httpx.AsyncClient, page):
    html = (await http.get(page, headers={"Accept": "text/html"})).text
    for path in set(re.findall(r'"(/static/[^"]+)"', html)):
        first = await http.get(path)
        assert first.status_code == 200, path
        again = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), path
        assert again.headers["etag"] == first.headers["etag"]
        assert "no-cache" in first.headers["cache-control"]


async def test_modules_import_only_existing_names():
    modules = {name: asset.body.decode() for name, asset in pages.ASSETS.items() if name.endswith(".js")}
    imported = set(
        chain.from_iterable(re.findall(r'(?:from|import\()\s*"\./([^"]+)"', text) for text in modules.values())
    )
    assert imported <= set(modules)


@pytest.mark.parametrize(
    "path", ["/static/nothing.js", "/static/..%2fpages.py", "/static/%2e%2e/pages.py", "/api/nothing"]
)
async def test_a_missing_path_is_a_problem(http: httpx.AsyncClient, path):
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_documentation_describes_every_operation(http: httpx.AsyncClient):
    document = (await http.get("/api/openapi.json")).json()
    page = (await http.get("/api")).text
    assert 'href="/api/openapi.json"' in page
    for path, item in document["paths"].items():
        for operation in item.values():
            assert f'id="{operation["operationId"]}"' in page
            assert f"<code>{path}</code>" in page
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page


async def test_the_openapi_document_is_sound(http: httpx.AsyncClient):
    answer = await http.get("/api/openapi.json")
    document = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert document["openapi"].startswith("3.1")
    operations = [(path, op) for path, item in document["paths"].items() for op in item.values()]
    ids = [op["operationId"] for _, op in operations]
    assert len(set(ids)) == len(ids)
    for reference in re.findall(r'"\$ref":\s*"([^"]+)"', answer.text):
        assert _follow(document, reference), reference
    for path, operation in operations:
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path


async def test_errors_are_documented_as_they_are(http: httpx.AsyncClient):
    document = (await http.get("/api/openapi.json")).json()
    problem = (await http.get("/api/v1/images/none")).json()
    assert set(problem) <= set(document["components"]["schemas"]["Problem"]["properties"])
    responses = document["paths"]["/api/v1/images/{imageId}"]["get"]["responses"]
    described = _follow(document, responses["default"]["$ref"])
    assert list(described["content"]) == ["application/problem+json"]
    assert "400" not in responses


def _follow(document: dict, reference: str) -> object:
    found: object = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]  # type: ignore[index]
    return found
