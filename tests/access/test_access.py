"""Access over HTTP: links, tickets, cookies, streams that end, and public images."""

import asyncio
import time
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from conftest import serve_api
from credentials import (
    bearer_headers,
    closed_application,
    create_api_key,
    create_ticket,
    make_token,
    unique_photo,
    with_authentication,
)
from factories import listen, post
from gallery.access import keys
from gallery.images.model import new_id
from gallery.wiring import open_gallery, open_processing

MAYA = bearer_headers(make_token("maya"))
NILS = bearer_headers(make_token("nils"))


async def upload(client: httpx.AsyncClient, headers=MAYA, **fields) -> dict:
    file = {"file": ("lake.jpg", unique_photo())}
    answer = await client.post("/api/v1/images", files=file, data=fields, headers=headers)
    return answer.json()


async def ready(application, client: httpx.AsyncClient, **fields) -> dict:
    image = await upload(client, **fields)
    async with open_processing(application, name="worker") as processing:
        await processing.process(image["id"])
    return (await client.get(f"/api/v1/images/{image['id']}", headers=MAYA)).json()


# --- links ------------------------------------------------------------------------------------------------------------


async def test_one_signature_opens_all_of_an_image_and_nothing_else(settings):
    async with closed_application(settings) as (application, client):
        image, other = await ready(application, client), await ready(application, client)
        answer = await client.post(f"/api/v1/images/{image['id']}/links", headers=MAYA)
        links = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert set(links) == {"expiresAt", "keyId", "srcset", "renditions", "original"}
        assert links["srcset"]["webp"].count("sig=") == len([r for r in image["renditions"] if r["format"] == "webp"])
        for url in [links["original"], *(r["url"] for r in links["renditions"])]:
            opened = await client.get(url)
            assert opened.status_code == 200, url
            assert opened.headers["cache-control"].startswith("private")
            assert "immutable" not in opened.headers["cache-control"]
            assert (await client.get(url.replace(image["id"], other["id"]))).status_code == 403
        query = urlsplit(links["original"]).query
        for path in ("", "/download", "/links", "/original/x"):
            answer = await client.get(f"/api/v1/images/{image['id']}{path}?{query}")
            assert answer.status_code in (401, 404, 405), path
        assert (await client.delete(f"/api/v1/images/{image['id']}?{query}")).status_code == 401
        assert (await client.get(f"/api/v1/images?{query}")).status_code == 401


@pytest.mark.parametrize("part", ["kid", "exp", "sig"])
async def test_a_changed_link_is_refused(settings, part):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        url = (await client.post(f"/api/v1/images/{image['id']}/links", headers=MAYA)).json()["original"]
        path, query = urlsplit(url).path, dict(parse_qsl(urlsplit(url).query))
        for value in ("", "1", query[part][:-1], "9" * 30, "\x00"):
            answer = await client.get(f"{path}?{urlencode({**query, part: value})}")
            assert answer.status_code in (401, 403), value
        without = {name: value for name, value in query.items() if name != part}
        assert (await client.get(f"{path}?{urlencode(without)}")).status_code in (401, 403)


async def test_a_link_expires_and_ends_with_its_image(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        where = f"/api/v1/images/{image['id']}"
        short = (await client.post(f"{where}/links", json={"expiresIn": 1}, headers=MAYA)).json()["original"]
        long = (await client.post(f"{where}/links", json={"expiresIn": 604800}, headers=MAYA)).json()["original"]
        assert (await client.get(long)).status_code == 200
        await asyncio.sleep(1.1)
        assert (await client.get(short)).json()["code"] == "link_not_valid"
        await client.delete(where, headers=MAYA)
        assert (await client.get(long)).status_code == 404


@pytest.mark.parametrize(
    "body", [{"expiresIn": 0}, {"expiresIn": 604801}, {"expiresIn": "x"}, {"a": 1}, {"expiresIn": 1.5}]
)
async def test_an_invalid_request_for_links_is_refused(settings, body):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        answer = await client.post(f"/api/v1/images/{image['id']}/links", json=body, headers=MAYA)
        assert answer.status_code == 422, answer.text


async def test_a_download_is_a_signed_url_that_saves_a_file(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        answer = await client.get(f"/api/v1/images/{image['id']}/download", headers=MAYA)
        url = answer.json()["url"]
        assert (answer.headers["cache-control"], answer.json()["expiresIn"]) == ("no-store", 3600)
        assert url.startswith(str(client.base_url))
        file = await client.get(url)
        assert file.status_code == 200
        assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''lake.jpg"
        assert (await client.get(url.replace("/original", "/320.webp"))).status_code == 403, "the original alone"
        assert (await client.get(url.replace("download=1&", ""))).status_code == 403, "and only to save it"


async def test_links_work_in_open_mode(client):
    image = (await post(client)).json()
    url = (await client.post(f"/api/v1/images/{image['id']}/links")).json()["original"]
    assert (await client.get(url)).status_code == 200
    assert (await client.get(url[:-1])).status_code == 403, "a signature in the URL is verified"


# --- public images ----------------------------------------------------------------------------------------------------


async def test_every_caller_can_see_a_public_image_and_only_its_owner_lists_it(settings):
    async with closed_application(settings) as (application, client):
        image = await ready(application, client, visibility="public")
        where = f"/api/v1/images/{image['id']}"
        for _ in range(2):  # from the database, then from the cache
            assert (await client.get(where)).json() == image
            assert (await client.get(where, headers=NILS)).json() == image
        rendition = await client.get(image["renditions"][0]["url"])
        assert rendition.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (await client.get(image["s3Url"])).headers["cache-control"] == "public, no-cache"
        assert (await client.get("/api/v1/images", headers=NILS)).json() == []
        assert (await client.patch(where, json={"title": "mine"}, headers=NILS)).status_code == 404


async def test_the_cache_checks_the_same_permissions(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        where = f"/api/v1/images/{image['id']}"
        for _ in range(2):
            assert (await client.get(where, headers=MAYA)).status_code == 200
            assert (await client.get(where, headers=NILS)).status_code == 404
            assert (await client.get(where)).status_code == 401
            assert (await client.get(where, headers={**NILS, "If-None-Match": '"1"'})).status_code == 404


# --- tickets --------------------------------------------------------------------------------------------------------


async def test_a_ticket_opens_the_stream_again_and_again_and_nothing_else(settings):
    async with closed_application(settings) as (_, client):
        ticket = await create_ticket(client, MAYA)
        for _ in range(2):
            async with listen(client, ticket=ticket) as maya:
                await upload(client, headers=NILS)
                image = await upload(client)
                assert image["id"] in (await maya.next()).data, "only events of the ticket's owner"
        for method, path in (
            ("GET", "/api/v1/images"),
            ("GET", f"/api/v1/images/{image['id']}"),
            ("DELETE", f"/api/v1/images/{image['id']}"),
            ("POST", "/api/v1/notifications/ticket"),
            ("POST", "/api/v1/session"),
        ):
            assert (await client.request(method, path, params={"ticket": ticket})).status_code == 401
            assert (await client.request(method, path, headers=bearer_headers(ticket))).status_code == 401
            cookie = {"Cookie": f"gallery_session={ticket}"}
            assert (await client.request(method, path, headers=cookie)).status_code == 401
        for wrong in ("", "x", ticket[:-2], MAYA["Authorization"].split()[1]):
            answer = await client.get("/api/v1/notifications/stream", params={"ticket": wrong})
            assert answer.status_code == 401


async def test_a_ticket_expires(settings, monkeypatch):
    monkeypatch.setattr("gallery.access.sessions.TICKET_LIFETIME", timedelta(seconds=1))
    async with closed_application(settings) as (_, client):
        ticket = await create_ticket(client, MAYA)
        await asyncio.sleep(1.1)
        answer = await client.get("/api/v1/notifications/stream", params={"ticket": ticket})
        assert answer.status_code == 401


# --- the cookie -------------------------------------------------------------------------------------------------------


async def test_a_cookie_is_strict_and_scripts_cannot_read_it(settings):
    async with closed_application(settings) as (_, client):
        short = bearer_headers(make_token("maya", exp=int(time.time()) + 300))
        answer = await client.post("/api/v1/session", headers=short)
        cookie = answer.headers["set-cookie"].lower()
        assert answer.json()["owner"] == "maya"
        assert 0 < answer.json()["expiresIn"] <= 300, "no longer than the token"
        assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
        assert "secure" not in cookie


@pytest.mark.parametrize(
    ("name", "value", "secure"),
    [
        ("X-Forwarded-Proto", "https", True),
        ("X-Forwarded-Proto", "https, http", True),
        ("X-Forwarded-Proto", "http ,HTTPS", True),
        ("X-Forwarded-Proto", "http", False),
        ("X-Forwarded-Proto", "httpsx, ,", False),
        ("Forwarded", "proto=https", True),
        ("Forwarded", 'for=10.0.0.1;Proto="HTTPS", for=10.0.0.2;proto=http', True),
        ("Forwarded", 'for="unclosed, proto = https', True),
        ("Forwarded", "proto=http;host=https", False),
        ("Forwarded", "for=https", False),
    ],
)
async def test_a_cookie_is_secure_when_any_hop_was(settings, name, value, secure):
    async with closed_application(settings) as (_, client):
        answer = await client.post("/api/v1/session", headers={**MAYA, name: value})
        assert ("secure" in answer.headers["set-cookie"].lower()) == secure
        twice = [*MAYA.items(), (name, value), (name, "http")]
        answer = await client.post("/api/v1/session", headers=twice)
        assert ("secure" in answer.headers["set-cookie"].lower()) == secure


async def test_a_caller_reads_its_owner_and_scopes(settings, gallery, client):
    async with closed_application(settings) as (_, closed_client):
        assert (await closed_client.get("/api/v1/session")).status_code == 401
        answer = await closed_client.get(
            "/api/v1/session", headers=bearer_headers(make_token("maya", "images:write images:read"))
        )
        assert answer.json() == {"owner": "maya", "scopes": ["images:read", "images:write"]}
        assert answer.headers["cache-control"] == "no-store"
        await closed_client.post("/api/v1/session", headers=bearer_headers(make_token("ops", "admin")))
        assert (await closed_client.get("/api/v1/session")).json() == {"owner": "ops", "scopes": ["admin"]}
    assert (await client.get("/api/v1/session")).json()["scopes"] == ["admin", "images:read", "images:write"]


async def test_a_cookie_writes_only_from_gallerys_own_pages(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        where, own_origin = f"/api/v1/images/{image['id']}", str(client.base_url).rstrip("/")
        await client.post("/api/v1/session", headers=MAYA)
        assert "gallery_session" in client.cookies
        assert (await client.get(where)).status_code == 200
        async with listen(client):
            pass
        for origin in (
            {},
            {"Origin": "null"},
            {"Origin": "https://evil.example"},
            {"Origin": f"{own_origin}.evil.example"},
        ):
            for method, path in (
                ("PATCH", where),
                ("DELETE", where),
                ("POST", f"{where}/links"),
                ("POST", "/api/v1/notifications/ticket"),
            ):
                answer = await client.request(method, path, json={}, headers=origin)
                assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin"), (method, origin)
        assert (await client.patch(where, json={"title": "Dawn"}, headers={"Origin": own_origin})).status_code == 200
        assert (await client.post("/api/v1/session", headers={"Origin": own_origin})).status_code == 401, (
            "a session cannot be renewed by itself"
        )
        answer = await client.delete("/api/v1/session", headers={"Origin": own_origin})
        assert answer.status_code == 204
        assert (await client.get(where)).status_code == 401


async def test_a_bearer_token_may_write_from_any_page(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        answer = await client.delete(
            f"/api/v1/images/{image['id']}", headers={**MAYA, "Origin": "https://app.example", "Host": "img.example"}
        )
        assert answer.status_code == 200


async def test_the_public_origin_may_write_with_a_cookie(settings):
    named = msgspec.structs.replace(with_authentication(settings), public_url="https://img.example.org")
    async with (
        open_gallery(named) as application,
        serve_api(application) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        image = await upload(client)
        answer = await client.post("/api/v1/session", headers=MAYA)
        assert "secure" in answer.headers["set-cookie"].lower()
        cookie = {"Cookie": answer.headers["set-cookie"].split(";")[0], "Origin": "https://img.example.org"}
        assert (await client.delete(f"/api/v1/images/{image['id']}", headers=cookie)).status_code == 200


async def test_a_session_ends_with_its_key(settings, monkeypatch):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.0)
    async with closed_application(settings) as (application, client):
        key_id, text = await create_api_key(application)
        await client.post("/api/v1/session", headers=bearer_headers(text))
        assert (await client.get("/api/v1/images")).status_code == 200
        await application.access.keys.revoke(key_id)
        assert (await client.get("/api/v1/images")).status_code == 401
        assert (await client.get("/")).status_code == 200, "the page, which asks to sign in"


async def test_the_credential_in_the_header_goes_before_the_cookie(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        await client.post("/api/v1/session", headers=MAYA)
        assert (await client.get(f"/api/v1/images/{image['id']}", headers=NILS)).status_code == 404
        assert (await client.get(f"/api/v1/images/{image['id']}", headers=bearer_headers("x"))).status_code == 401


# --- others -----------------------------------------------------------------------------------------------------------


async def test_an_admin_may_change_all_images_but_lists_its_own(settings):
    async with closed_application(settings) as (_, client):
        image = await upload(client)
        root = bearer_headers(make_token("root", "admin"))
        assert (await client.get("/api/v1/images", headers=root)).json() == []
        answer = await client.patch(f"/api/v1/images/{image['id']}", json={"title": "x"}, headers=root)
        assert answer.status_code == 200
        assert (await client.get("/api/v1/images", headers=MAYA)).json()[0]["title"] == "x"


async def test_a_caller_with_only_the_write_scope_sees_its_own_uploads(settings):
    async with closed_application(settings) as (_, client):
        writer = bearer_headers(make_token("maya", "images:write"))
        file = {"file": ("lake.jpg", unique_photo())}
        answer = await client.post("/api/v1/images", files=file, headers={**writer, "Prefer": "wait=1"})
        assert answer.status_code == 201
        stale = {**writer, "If-Match": '"7"'}
        where = f"/api/v1/images/{answer.json()['id']}"
        assert (await client.patch(where, json={"title": "x"}, headers=stale)).status_code == 412
        assert (await client.patch(f"{where[:-36]}{new_id()}", json={"title": "x"}, headers=stale)).status_code == 404


async def test_credentials_are_checked_before_the_body_is_read(settings):
    async with closed_application(settings) as (_, client):
        assert (await client.post("/api/v1/images", content=b"x" * 1000)).status_code == 401
        assert (await client.get("/api/v1/images?limit=x")).status_code == 401
        assert (await client.patch("/api/v1/images/x", content=b"{")).status_code == 401
        assert (await client.get("/livez", headers=bearer_headers("x"))).status_code == 200


async def test_no_credential_is_written_into_the_log(settings, capsys):
    async with closed_application(settings) as (application, client):
        _, text = await create_api_key(application)
        for url, headers in (
            (f"/api/v1/images?api_key={text}", bearer_headers(text)),
            (f"/api/v1/images?access_token={text}", {"X-Api-Key": text[:-1]}),
        ):
            await client.get(url, headers=headers)
    printed = "".join(capsys.readouterr())
    assert text[-43:-1] not in printed


async def test_a_request_names_its_key_in_the_log_and_the_pages_files_are_quiet(settings):
    async with closed_application(settings) as (application, client):
        key, text = await create_api_key(application)
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            await client.get("/api/v1/images", headers=bearer_headers(text))
            await client.get("/static/home.css")
            await client.get("/livez")
    lines = {line["path"]: line for line in logs if line["event"] == "request"}
    assert lines["/api/v1/images"]["caller"] == f"key:{key}"
    assert "caller" not in lines["/livez"]
    assert {lines[path]["log_level"] for path in ("/static/home.css", "/livez")} == {"debug"}
