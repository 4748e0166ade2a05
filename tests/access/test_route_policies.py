"""The table of every route of the application and its status for each kind of caller. Add new routes to it."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar

import tus_requests
from credentials import (
    bearer_headers,
    closed_application,
    create_upload_ticket,
    make_token,
    unique_photo,
    upload_headers,
)
from factories import post
from gallery.web.app import make_app
from gallery.wiring import open_processing

CALLERS = {
    "anonymous": {},
    "another": bearer_headers(make_token("nils")),
    "reader": bearer_headers(make_token("maya", "images:read")),
    "writer": bearer_headers(make_token("maya", "images:write")),
    "owner": bearer_headers(make_token("maya")),
    "admin": bearer_headers(make_token("root", "admin")),
    "expired": bearer_headers(make_token("maya", exp=int(time.time()) - 600)),
}
#                                     anonymous another reader writer owner admin expired
TABLE = {
    "GET /api/v1/images":                  (401, 200, 200, 403, 200, 200, 401),
    "POST /api/v1/images":                 (401, 201, 403, 201, 201, 201, 401),
    "GET /api/v1/images/{image_id}":       (401, 404, 200, 403, 200, 200, 401),
    "PATCH /api/v1/images/{image_id}":     (401, 404, 403, 200, 200, 200, 401),
    "DELETE /api/v1/images/{image_id}":    (401, 404, 403, 200, 200, 200, 401),
    "GET /api/v1/images/{image_id}/download": (401, 404, 200, 403, 200, 200, 401),
    "POST /api/v1/images/check":           (401, 200, 200, 200, 200, 200, 401),
    "POST /api/v1/images/links":           (401, 200, 200, 403, 200, 200, 401),
    "POST /api/v1/images/{image_id}/links": (401, 404, 200, 403, 200, 200, 401),
    "POST /api/v1/images/{image_id}/reprocess": (401, 404, 403, 409, 409, 409, 401),
    "GET /api/v1/images/{image_id}/timeline": (401, 404, 200, 403, 200, 200, 401),
    "GET /api/v1/images/{image_id}/original": (401, 404, 200, 403, 200, 200, 401),
    "GET /api/v1/images/{image_id}/picture": (401, 404, 200, 403, 200, 200, 401),
    "GET /api/v1/images/{image_id}/{file}": (401, 404, 200, 403, 200, 200, 401),
    "POST /api/v1/uploads":                (401, 201, 403, 201, 201, 201, 401),
    "GET /api/v1/uploads/{upload_id}":     (401, 404, 403, 404, 404, 404, 401),
    "PATCH /api/v1/uploads/{upload_id}":   (401, 404, 403, 404, 404, 404, 401),
    "POST /api/v1/uploads/{upload_id}":    (401, 405, 403, 405, 405, 405, 401),
    "DELETE /api/v1/uploads/{upload_id}":  (401, 404, 403, 404, 404, 404, 401),
    "POST /api/v1/uploads/direct":         (401, 201, 403, 201, 201, 201, 401),
    "PUT /api/v1/uploads/{upload_id}/parts/{number}": (403, 403, 403, 403, 403, 403, 403),
    "POST /api/v1/uploads/{upload_id}/complete": (401, 404, 403, 404, 404, 404, 401),
    "GET /api/v1/presets":                 (200, 200, 200, 200, 200, 200, 401),
    "GET /api/v1/notifications/stream":    (401, 200, 200, 403, 200, 200, 401),
    "POST /api/v1/notifications/ticket":   (401, 201, 201, 403, 201, 201, 401),
    "POST /api/v1/uploads/ticket":        (401, 201, 403, 201, 201, 201, 401),
    "DELETE /api/v1/uploads/tickets/{ticket_id}": (401, 404, 403, 204, 204, 204, 401),
    "POST /api/v1/session":                (401, 201, 201, 201, 201, 201, 401),
    "DELETE /api/v1/session":              (204, 204, 204, 204, 204, 204, 204),
    "GET /api/v1/session":                 (401, 200, 200, 200, 200, 200, 401),
    "GET /admin":                          (307, 307, 307, 307, 307, 307, 307),
    "GET /admin/images/{image_id}":        (401, 403, 403, 403, 403, 200, 401),
    "GET /admin/queues":                  (401, 403, 403, 403, 403, 200, 401),
    "GET /admin/queues/state":             (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/pause":            (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/resume":           (401, 403, 403, 403, 403, 200, 401),
    "GET /admin/autoscale":                (401, 403, 403, 403, 403, 200, 401),
    "GET /admin/queues/failed":            (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/failed/retry":     (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/failed/drop":      (401, 403, 403, 403, 403, 200, 401),
    "GET /admin/queues/jobs":              (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/jobs/retry":       (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/jobs/drop":        (401, 403, 403, 403, 403, 200, 401),
    "DELETE /admin/cache":                 (401, 403, 403, 403, 403, 200, 401),
    "POST /admin/queues/failed/{image_id}/retry": (401, 403, 403, 403, 403, 409, 401),
    "POST /admin/queues/failed/{image_id}/drop": (401, 403, 403, 403, 403, 409, 401),
    "POST /admin/queues/jobs/{job_id}/retry": (401, 403, 403, 403, 403, 404, 401),
    "POST /admin/queues/jobs/{job_id}/drop": (401, 403, 403, 403, 403, 404, 401),
    "GET /":                               (200, 200, 200, 200, 200, 200, 200),
    "GET /api":                            (200, 200, 200, 200, 200, 200, 200),
    "GET /api/{path}":                     (404, 404, 404, 404, 404, 404, 404),
    "GET /api/errors":                    (200, 200, 200, 200, 200, 200, 200),
    "GET /api/openapi.json":               (200, 200, 200, 200, 200, 200, 200),
    "GET /favicon.ico":                    (200, 200, 200, 200, 200, 200, 200),
    "GET /health":                         (200, 200, 200, 200, 200, 200, 200),
    "GET /metrics":                        (401, 403, 403, 403, 403, 200, 401),
    "GET /iiif/3/{image_id}":              (303, 303, 303, 303, 303, 303, 401),
    "GET /iiif/3/{image_id}/info.json":    (401, 404, 200, 403, 200, 200, 401),
    "GET /iiif/3/{image_id}/{region}/{size}/{rotation}/{file}": (401, 404, 200, 403, 200, 200, 401),
    "GET /livez":                          (200, 200, 200, 200, 200, 200, 200),
    "GET /readyz":                         (200, 200, 200, 200, 200, 200, 200),
    "GET /static/{name}":                  (200, 200, 200, 200, 200, 200, 200),
}  # fmt: skip
# The same for a public image: callers without the read scope still see public images.
PUBLIC = {
    "GET /api/v1/images/{image_id}":       (200, 200, 200, 200, 200, 200, 401),
    "PATCH /api/v1/images/{image_id}":     (401, 404, 403, 200, 200, 200, 401),
    "DELETE /api/v1/images/{image_id}":    (401, 404, 403, 200, 200, 200, 401),
    "GET /api/v1/images/{image_id}/download": (401, 200, 200, 403, 200, 200, 401),
    "POST /api/v1/images/{image_id}/links": (401, 200, 200, 403, 200, 200, 401),
    "POST /api/v1/images/{image_id}/reprocess": (401, 404, 403, 409, 409, 409, 401),
    "GET /api/v1/images/{image_id}/timeline": (401, 404, 200, 403, 200, 200, 401),
    "GET /api/v1/images/{image_id}/original": (200, 200, 200, 200, 200, 200, 401),
    "GET /api/v1/images/{image_id}/picture": (403, 200, 200, 403, 200, 200, 401),
    "GET /api/v1/images/{image_id}/{file}": (200, 200, 200, 200, 200, 200, 401),
    "GET /iiif/3/{image_id}/info.json":    (200, 200, 200, 200, 200, 200, 401),
    "GET /iiif/3/{image_id}/{region}/{size}/{rotation}/{file}": (200, 200, 200, 200, 200, 200, 401),
}  # fmt: skip
# Upload tickets: one that has uploaded nothing, and the one that has uploaded the image of the path. Every other route
# that reads a credential refuses both.
TICKETS = {
    "GET /api/v1/images":                  (200, 200),
    "POST /api/v1/images":                 (201, 201),
    "POST /api/v1/images/check":           (200, 200),
    "GET /api/v1/images/{image_id}":       (404, 200),
    "GET /api/v1/images/{image_id}/original": (404, 200),
    "GET /api/v1/images/{image_id}/picture": (404, 200),
    "GET /api/v1/images/{image_id}/{file}": (404, 200),
    "POST /api/v1/uploads":                (201, 201),
    "GET /api/v1/uploads/{upload_id}":     (404, 404),
    "PATCH /api/v1/uploads/{upload_id}":   (404, 404),
    "POST /api/v1/uploads/{upload_id}":    (405, 405),
    "DELETE /api/v1/uploads/{upload_id}":  (404, 404),
    "POST /api/v1/uploads/direct":         (201, 201),
    "POST /api/v1/uploads/{upload_id}/complete": (404, 404),
    "GET /api/v1/presets":                 (200, 200),
    "GET /api/v1/notifications/stream":    (200, 200),
    "GET /iiif/3/{image_id}":              (303, 303),
    "GET /iiif/3/{image_id}/info.json":    (404, 200),
    "GET /iiif/3/{image_id}/{region}/{size}/{rotation}/{file}": (404, 200),
}  # fmt: skip
TICKETS_FOR_PUBLIC = {route: (200, 200) for route in PUBLIC if route in TICKETS} | {
    "GET /api/v1/images/{image_id}/picture": (403, 200),  # without a preset, as anonymous callers
}
REQUEST_OPTIONS: dict[str, dict[str, Any]] = {
    "PATCH /api/v1/images/{image_id}": {"json": {"title": "Dawn"}},
    "POST /api/v1/images/check": {"json": []},
    "POST /api/v1/images/links": {"json": {"ids": []}},
    "POST /api/v1/uploads": {"headers": {**tus_requests.VERSION, "Upload-Length": "9"}},
    "PATCH /api/v1/uploads/{upload_id}": {
        "headers": {**tus_requests.VERSION, **tus_requests.CHUNK, "Upload-Offset": "0"}
    },
    "POST /api/v1/uploads/direct": {"json": {"size": 9}},
    "GET /": {"headers": {"Accept": "text/html"}},
}
# Each caller gets an image of its own: the first call would delete it, or leave it PENDING (hence 409).
CHANGES_THE_IMAGE = ("DELETE /api/v1/images/{image_id}", "POST /api/v1/images/{image_id}/reprocess")


def routes(app: Any) -> Iterator[str]:
    while not isinstance(app, Litestar):
        app = app._app
    for route in app.routes:
        for method in route.methods - {"OPTIONS", "HEAD"}:
            yield f"{method} {route.path_format}"


async def test_no_route_is_missing(gallery):
    assert sorted(routes(make_app(gallery).asgi)) == sorted(TABLE), "add each route to the table"


@pytest.mark.parametrize(("table", "visibility"), [(TABLE, "private"), (PUBLIC, "public")])
async def test_every_caller_gets_the_status_in_the_table(settings, table, visibility):
    async with closed_application(settings) as (application, client):
        ready = await an_image(client, visibility)
        ticket_id = (await create_upload_ticket(client, CALLERS["owner"]))["id"]
        async with open_processing(application, name="worker") as processing:
            await processing.process(ready)
        got = {}
        for route in table:
            answers = []
            for headers in CALLERS.values():
                image = await an_image(client, visibility) if route in CHANGES_THE_IMAGE else ready
                answers.append((await answer(client, route, image, headers, ticket_id)).status_code)
            got[route] = tuple(answers)
        assert got == table


@pytest.mark.parametrize(
    ("table", "by_ticket", "visibility"), [(TABLE, TICKETS, "private"), (PUBLIC, TICKETS_FOR_PUBLIC, "public")]
)
async def test_an_upload_ticket_reaches_what_it_has_uploaded_and_nothing_else(settings, table, by_ticket, visibility):
    async with closed_application(settings) as (application, client):
        ticket, uploader = [await a_ticket(client) for _ in range(2)]
        image = (await post(client, unique_photo(), headers=uploader, visibility=visibility)).json()["id"]
        async with open_processing(application, name="worker") as processing:
            await processing.process(image)
        ticket_id = (await create_upload_ticket(client, CALLERS["owner"]))["id"]
        for route, (*_, expired) in table.items():
            answers = [await answer(client, route, image, headers, ticket_id) for headers in (ticket, uploader)]
            refused = (403, 403) if expired == 401 else (expired, expired)
            assert tuple(a.status_code for a in answers) == by_ticket.get(route, refused), route
            if expired == 401 and route not in by_ticket:
                assert answers[1].json()["code"] == "upload_ticket_not_enough", route


async def test_a_refusal_names_the_authentication_scheme(settings):
    async with closed_application(settings) as (_, client):
        answer = await client.get("/api/v1/images")
        assert answer.headers["www-authenticate"] == 'Bearer realm="gallery"'
        assert answer.json()["code"] == "credentials_required"
        answer = await client.get("/api/v1/images", headers=CALLERS["expired"])
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert (answer.json()["code"], answer.json()["detail"]) == ("token_expired", "The token has expired.")
        answer = await client.get("/api/v1/images", headers=CALLERS["writer"])
        assert 'error="insufficient_scope", scope="images:read"' in answer.headers["www-authenticate"]
        assert answer.json()["code"] == "scope_missing"
        assert answer.json()["detail"].endswith("This call needs the scope images:read.")


async def test_another_owners_image_looks_like_a_missing_one(settings):
    async with closed_application(settings) as (_, client):
        private, none = await an_image(client, "private"), "01990000-0000-7000-8000-000000000000"
        ticket = await a_ticket(client)
        for route in (r for r in TICKETS if TICKETS[r][0] == 404):
            await assert_same_refusal(client, route, private, none, ticket)
        for name in ("anonymous", "another", "writer"):
            for route in (r for r in TABLE if "{image_id}" in r):
                if TABLE[route][list(CALLERS).index(name)] in (200, 201, 303, 409):
                    continue
                await assert_same_refusal(client, route, private, none, CALLERS[name])


async def an_image(client: httpx.AsyncClient, visibility: str) -> str:
    client.headers.update(CALLERS["owner"])
    image = (await post(client, unique_photo(), visibility=visibility)).json()["id"]
    del client.headers["Authorization"]
    return image


async def a_ticket(client: httpx.AsyncClient) -> dict[str, str]:
    return upload_headers((await create_upload_ticket(client, CALLERS["owner"], uses=10))["ticket"])


async def assert_same_refusal(
    client: httpx.AsyncClient, route: str, private: str, none: str, headers: dict[str, str]
) -> None:
    one, other = [await answer(client, route, image, headers) for image in (private, none)]
    assert one.status_code == other.status_code, (route, headers)
    same = [{**a.json(), "instance": "", "requestId": ""} for a in (one, other)]
    assert same[0] == same[1], (route, headers)


async def answer(
    client: httpx.AsyncClient, route: str, image: str, headers: dict[str, str], ticket_id: str = ""
) -> httpx.Response:
    method, path = route.split(" ")
    sent = dict(REQUEST_OPTIONS.get(route, {}))
    if route == "POST /api/v1/images":
        sent = {"files": {"file": ("a.jpg", unique_photo())}}
    sent["headers"] = {**sent.get("headers", {}), **headers}
    values = {
        "image_id": image,
        "ticket_id": ticket_id,
        "job_id": "1",
        "file": "320.webp",
        "name": "home.js",
        "path": "nothing",
        "upload_id": image,
        "number": "1",
    }
    if path.startswith("/iiif"):
        values |= {"region": "full", "size": "80,", "rotation": "0", "file": "default.jpg"}
    url = path.format(**values)
    async with client.stream(method, url, **sent) as response:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return response
        await response.aread()
        response.cookies.clear()
        client.cookies.clear()
        return response
