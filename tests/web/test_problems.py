"""Errors over HTTP: one shape, a clear sentence, and no internals."""

import re

import httpx
import msgspec
import pytest

from conftest import serve_api
from factories import post
from gallery.wiring import open_gallery


def is_problem(answer, status, code):
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"/api/errors#{code}"
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "requestId", "errors"}
    assert not re.search("Traceback|SELECT|asyncpg|/src/", answer.text)
    return True


async def test_a_path_that_is_not_there(client):
    answer = await client.get("/nothing/here")
    assert is_problem(answer, 404, "not_found")
    assert answer.json()["instance"] == "/nothing/here"


async def test_a_method_that_is_not_there(client):
    answer = await client.put("/api/v1/images")
    assert is_problem(answer, 405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


async def test_an_unknown_image(client):
    assert is_problem(await client.get("/api/v1/images/x"), 404, "image_not_found")


async def test_a_body_that_is_too_large_for_an_edit(client):
    image = (await post(client)).json()["id"]
    answer = await client.patch(f"/api/v1/images/{image}", json={"title": "x" * 100_000})
    assert is_problem(answer, 413, "too_large")
    assert answer.json()["detail"] == "The file or the request body is too large."


async def test_a_request_id_is_echoed_unless_it_could_do_harm(client):
    answer = await client.get("/livez", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    for bad in ("a b", "x" * 200, '"<script>', ""):
        answer = await client.get("/livez", headers={"X-Request-Id": bad})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


async def test_every_answer_has_safe_headers_and_no_banner(client):
    for path in ("/", "/livez", "/api/v1/images", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


async def test_an_unavailable_database_is_service_unavailable(client, gallery):
    await gallery.database._pool.close()
    answer = await client.get("/api/v1/images/01990000-0000-7000-8000-000000000000")
    assert is_problem(answer, 503, "database_away")
    assert answer.headers["retry-after"] == "2"


async def test_a_bug_reveals_no_details(client, gallery, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(type(gallery.cached_reads), "image", broken)
    answer = await client.get("/api/v1/images/01990000-0000-7000-8000-000000000000")
    assert is_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text


# --- open mode, and other sites' pages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:3000", "192.168.0.7", "localhost.evil.example", "", ".", "[::ffff:192.168.0.7]"],
)
async def test_a_rebound_name_is_refused(client, host):
    answer = await client.get("/api/v1/images", headers={"Host": host})
    assert is_problem(answer, 403, "foreign_host")


@pytest.mark.parametrize(
    "host",
    [
        "localhost:3000", "LOCALHOST.", "localhost.:3000", "127.0.0.1", "127.0.0.2:80", "[::1]:3000", "app.localhost",
        "app.localhost.", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]:3000",
    ],
)  # fmt: skip
async def test_every_name_of_this_machine_is_allowed(client, host):
    assert (await client.get("/api/v1/images", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1.evil.example"]
)
async def test_another_sites_page_may_not_write(client, origin):
    answer = await client.post("/api/v1/images", headers={"Origin": origin}, files={"file": b"x"})
    assert is_problem(answer, 403, "foreign_origin")
    answer = await client.delete("/api/v1/images/x", headers={"Origin": origin})
    assert is_problem(answer, 403, "foreign_origin")


async def test_our_own_page_may_write(client):
    origin = str(client.base_url).rstrip("/")
    answer = await client.patch("/api/v1/images/x", json={}, headers={"Origin": origin})
    assert answer.status_code == 404, "authenticated; the image does not exist"


async def test_with_open_mode_set_any_host_is_allowed_but_no_foreign_page(settings):
    open_settings = msgspec.structs.replace(settings, access=msgspec.structs.replace(settings.access, open=True))
    async with (
        open_gallery(open_settings) as gallery,
        serve_api(gallery) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await client.get("/api/v1/images", headers={"Host": "img.example.org"})).status_code == 200
        answer = await client.delete(
            "/api/v1/images/x", headers={"Host": "img.example.org", "Origin": "https://evil.example"}
        )
        assert is_problem(answer, 403, "foreign_origin")
