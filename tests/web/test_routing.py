"""For every spelling of a path, limits and headers follow the route that answers."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar

from conftest import running_application
from gallery.access.model import DEFAULT_POLICY
from gallery.adapters.valkey.rates import RateClass
from gallery.web.app import make_app, make_worker_app
from http_sockets import serve_app
from raw_http import RawConnection, RawResponse

ID = "01990000-0000-7000-8000-000000000000"
VALUES = {"image_id": ID, "job_id": "1", "file": "320.webp", "name": "home.js", "path": "nothing"}
VALUES |= {"upload_id": ID, "ticket_id": ID, "number": "1"}
VALUES |= {"region": "full", "size": "max", "rotation": "0"}
UPLOADS = {f"POST /api/v1/{path}" for path in ("images", "uploads", "uploads/direct", "uploads/ticket")}
RENDITIONS = {
    "GET /api/v1/images/{image_id}/original",
    "GET /api/v1/images/{image_id}/{file}",
    "GET /api/v1/images/{image_id}/picture",
    "GET /iiif/3/{image_id}/{region}/{size}/{rotation}/{file}",
}
UNLIMITED = {"GET /livez", "GET /readyz", "GET /health", "GET /favicon.ico", "GET /static/{name}"}
PROBES = {"GET /livez", "GET /readyz", "GET /health"}
QUIET = PROBES | {"GET /metrics", "GET /static/{name}"}
LIMITS = {
    "GALLERY_RATE__ENABLED": "true",
    "GALLERY_RATE__STRANGER": "99001 per 3600",
    "GALLERY_RATE__UPLOADS": "99002 per 3600",
    "GALLERY_RATE__RENDITIONS": "99003 per 3600",
}
SETTING_NAMES = {
    "requests": "GALLERY_RATE__STRANGER",
    "uploads": "GALLERY_RATE__UPLOADS",
    "renditions": "GALLERY_RATE__RENDITIONS",
}


def routes(app: Any) -> Iterator[tuple[str, Any]]:
    """Every route of the application, with its handler."""
    while not isinstance(app, Litestar):
        app = app._app
    for route in app.routes:
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                yield f"{method} {route.path_format}", handler


def spellings(path: str) -> Iterator[str]:
    """Other ways to write a path, some of which servers and proxies take for the same."""
    last = path.rpartition("/")[2]
    yield from (path, f"/{path}", f"///{path}", f"{path}/", f"{path}//", path.replace("/", "//"))
    yield from (f"/.{path}", f"/x/..{path}", f"{path}/.", f"{path}/..", f"{path}/../{last}", path.replace("/", "/./"))
    yield from (f"{path};", f"{path};a=b", path.replace("/", ";/"), f"{path}?", f"{path}?/x", f"{path}#x", f"{path}%23")
    yield from (path.upper(), path.title(), path.replace("/", "/%2f"), path.replace("/", "%2F"), f"{path}%2F")
    yield from (
        f"{path}%00",
        f"{path}%20",
        f"{path}%0a",
        f"{path}\\",
        path.replace("/", "\\"),
        f"/%2e{path}",
        f"{path}%3f",
    )
    yield from (re.sub("[a-z]", lambda m: f"%{ord(m[0]):02x}", path), re.sub("i", "%69", path), f"{path}%c0%af")
    yield from (f"http://127.0.0.1{path}", f"{path}/{last}", f"/api{path}", f"{path}%252f", f"*{path}", f"{path}/*")


def test_the_rate_class_of_each_route(gallery):
    handlers = dict(routes(make_app(gallery).asgi))
    of = {route: handler.opt.get("rate", RateClass.REQUESTS) for route, handler in handlers.items()}
    assert {route for route, rate in of.items() if rate is RateClass.UPLOADS} == UPLOADS
    assert {route for route, rate in of.items() if rate is RateClass.RENDITIONS} == RENDITIONS
    assert {route for route, rate in of.items() if rate is None} == UNLIMITED
    assert {route for route, handler in handlers.items() if handler.opt.get("quiet")} == QUIET
    assert {route for route, handler in handlers.items() if handler.opt.get("probe")} == PROBES
    assert {route for route, handler in handlers.items() if handler.opt.get("embeddable")} == RENDITIONS
    assert {key for handler in handlers.values() for key in handler.opt} == {
        "policy",
        "rate",
        "quiet",
        "embeddable",
        "probe",
        "tus",
    }
    for route in UNLIMITED:
        assert not handlers[route].opt.get("policy", DEFAULT_POLICY).authenticate, (
            f"{route} must not verify credentials without a limit"
        )


@pytest.fixture
def recorded_requests(monkeypatch) -> list[Any]:
    """The handlers that have answered, as Litestar itself has found them; `None` for a request that has none."""
    found: list[Any] = []
    serve = Litestar.__call__

    async def serve_and_note(app: Litestar, scope: Any, receive: Any, send: Any) -> None:
        async def send_and_note(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.append(scope.get("route_handler"))
            await send(message)

        await serve(app, scope, receive, send_and_note)

    monkeypatch.setattr(Litestar, "__call__", serve_and_note)
    return found


async def test_every_spelling_of_a_path_counts_as_the_route_that_answers(environment, recorded_requests):
    async with (
        running_application(environment, **LIMITS, GALLERY_CACHE__RESPONSE_BYTES="0") as (gallery, client),
        RawConnection(str(client.base_url)) as wire,
    ):
        for template, handler in routes(make_app(gallery).asgi):
            method, path = template.split(" ")
            for target in spellings(path.format(**VALUES)):
                recorded_requests.clear()
                answer = await wire.request(method.encode(), target.encode())
                if not recorded_requests:
                    assert answer.status == 400, (method, target, "refused by the server before the application")
                    continue
                opt = recorded_requests[0].opt if recorded_requests[0] else {}
                assert rate_class_of(answer) is opt.get("rate", RateClass.REQUESTS), (method, target)
                embeddable = answer.headers[b"cross-origin-resource-policy"] == b"same-site"
                assert embeddable == bool(opt.get("embeddable")), (method, target)
                if target in (path.format(**VALUES), f"/{path.format(**VALUES)}/"):
                    assert opt == handler.opt, (method, target)


async def test_the_same_limit_holds_for_all_spellings(environment):
    given = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__UPLOADS": "3 per 3600"}
    async with running_application(environment, **given) as (_, client), RawConnection(str(client.base_url)) as wire:
        targets = (
            b"/api/v1/images",
            b"//api/v1/images",
            b"/api//v1/images",
            b"/api/v1/images//",
            b"/%61pi/v1/images%2f",
        )
        answers = [await wire.request(b"POST", target, body=b"x") for target in targets]
        assert [answer.status for answer in answers] == [400, 400, 400, 429, 429]


def rate_class_of(answer: RawResponse) -> RateClass | None:
    policy = re.search(rb'^"(\w+)";q=(\d+)', answer.headers.get(b"ratelimit-policy", b""))
    if policy is None:
        return None
    assert LIMITS[SETTING_NAMES[policy[1].decode()]].split()[0] == policy[2].decode()
    return RateClass(policy[1].decode())


# --- methods ----------------------------------------------------------------------------------------------------------


def allowed_methods(app: Any) -> dict[str, set[str]]:
    """The methods of each path."""
    found: dict[str, set[str]] = {}
    for route, _ in routes(app):
        method, path = route.split(" ", 1)
        found.setdefault(path, {"OPTIONS"}).update({method, "HEAD"} if method == "GET" else {method})
    return found


async def test_allow_names_all_methods_of_a_path(client, gallery):
    """To `OPTIONS`, and to a method that it does not have."""
    for path, methods in allowed_methods(make_app(gallery).asgi).items():
        for method in ("OPTIONS", "TRACE", *{"GET", "POST", "PUT", "PATCH", "DELETE"} - methods):
            answer = await client.request(method, path.format(**VALUES))
            assert answer.status_code == (204 if method == "OPTIONS" else 405), (method, path)
            assert answer.headers["allow"].split(", ") == sorted(methods), (method, path)


async def test_allow_names_all_methods_of_a_path_of_a_worker(gallery):
    async with serve_app(make_worker_app(gallery)) as url, httpx.AsyncClient(base_url=url) as client:
        for path, methods in allowed_methods(make_worker_app(gallery)).items():
            for method, status in (("OPTIONS", 204), ("POST", 405), ("DELETE", 405)):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.headers["allow"]) == (status, ", ".join(sorted(methods)))


@pytest.mark.parametrize("path", ["/nothing", "/api/v1", "/api/v1/nothing", "/api/v1/images/1/2/3", "/static/a/b"])
async def test_a_path_that_is_not_there_offers_nothing(client, path):
    for method in ("OPTIONS", "TRACE", "PUT"):
        answer = await client.request(method, path)
        assert (answer.status_code, "allow" in answer.headers) == (404, False)


async def test_no_field_of_a_body_has_the_name_of_a_dependency(gallery):
    """Litestar would answer 500 instead of 422 for an invalid value of such a field."""
    for name, handler in routes(make_app(gallery).asgi):
        body = handler.parsed_data_field
        structs = [] if body is None else [kind for kind in (body.annotation, *body.args) if is_struct(kind)]
        fields = {field.encode_name for kind in structs for field in msgspec.structs.fields(kind)}
        assert not fields & handler.dependency_name_set, name
        if name == "POST /api/v1/images/{image_id}/links":
            assert "pictures" in fields


def is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
