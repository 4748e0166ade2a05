"""Pages of other sites: those that CORS_ORIGIN names may read and write, the others neither."""

import time

import jwt
import pytest
from structlog.testing import capture_logs

import photos
from conftest import running_application
from factories import upload_image
from gallery.errors import Misconfigured
from gallery.settings import Settings
from gallery.web.middleware import cors

APP, OTHER = "https://app.example.org", "https://evil.example"
UNKNOWN = "01990000-0000-7000-8000-000000000000"
LISTED = {"CORS_ORIGIN": f"{APP}, http://localhost:5173"}
ANY_ORIGIN = {"CORS_ORIGIN": "*"}


def preflight_headers(method: str, **headers: str) -> dict[str, str]:
    return {
        "Access-Control-Request-Method": method,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


def allowed_origin(answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("origin", [APP, "http://localhost:5173"])
async def test_a_listed_origin_may_read(environment, origin):
    async with running_application(environment, **LISTED) as (_, client):
        answer = await client.get("/api/v1/images", headers={"Origin": origin})
        assert allowed_origin(answer) == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
        shown = answer.headers["access-control-expose-headers"]
        for name in ("ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"):
            assert name in shown.split(", ")
        assert "Idempotency-Replayed" in shown


@pytest.mark.parametrize(
    "origin", [OTHER, "https://app.example.org.evil.example", "http://app.example.org", "null", ""]
)
async def test_another_origin_gets_no_headers(environment, origin):
    async with running_application(environment, **LISTED) as (_, client):
        answer = await client.get("/api/v1/images", headers={"Origin": origin})
        preflight = await client.options("/api/v1/images", headers={"Origin": origin, **preflight_headers("POST")})
        for found in (answer, preflight):
            assert not [name for name in found.headers if name.startswith("access-control-")]
            assert "Origin" in found.headers["vary"], "a cache must not give this answer to others"
        refused = (await client.post("/api/v1/images", headers={"Origin": origin})).json()
        assert refused["code"] == "foreign_origin"
        assert "CORS_ORIGIN" in refused["detail"]
        assert origin in refused["detail"]


async def test_a_listed_origin_may_write(environment):
    async with running_application(environment, **LISTED) as (_, client):
        for cookie in ({}, {"Cookie": "session=x"}):
            file = {"file": ("a.jpg", photos.a_jpeg())}
            answer = await client.post("/api/v1/images", files=file, headers={"Origin": APP, **cookie})
            assert (answer.status_code < 300, allowed_origin(answer)) == (True, APP)


@pytest.mark.parametrize("path", ["/api/v1/images", "/api/v1/images/x", "/api/v1/notifications/stream", "/nothing"])
async def test_a_preflight_is_answered_and_may_be_remembered(environment, path):
    async with running_application(environment, **LISTED) as (_, client):
        wanted = preflight_headers("PATCH", Access_Control_Request_Headers="content-type, if-match")
        answer = await client.options(path, headers={"Origin": APP, **wanted})
        assert (answer.status_code, answer.content, allowed_origin(answer)) == (204, b"", APP)
        assert answer.headers["access-control-max-age"] == "7200"
        methods = answer.headers["access-control-allow-methods"].split(", ")
        assert {"GET", "POST", "PATCH", "DELETE"} <= set(methods)
        taken = answer.headers["access-control-allow-headers"].lower().split(", ")
        for name in ("authorization", "content-type", "idempotency-key", "if-match", "last-event-id", "prefer"):
            assert name in taken


SENT_BY_UPLOADS = (
    "Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, Upload-Checksum, Upload-Defer-Length, "
    "Upload-Complete, Upload-Draft-Interop-Version, Repr-Digest, Content-Digest, Content-Disposition, Idempotency-Key, "
    "If-Match, X-HTTP-Method-Override"
)
READ_BY_UPLOADS = (
    "Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm, Upload-Offset, Upload-Length, "
    "Upload-Expires, Upload-Metadata, Upload-Complete, Location, Content-Location, Gallery-Image, Gallery-Duplicate, "
    "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, Accept-Post"
)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "HEAD", "DELETE"])
async def test_a_page_may_send_and_read_the_headers_of_every_upload(environment, method):
    async with running_application(environment, **LISTED) as (_, client):
        asked = preflight_headers(method, Access_Control_Request_Headers=SENT_BY_UPLOADS.lower())
        preflight = await client.options("/api/v1/images", headers={"Origin": APP, **asked})
        assert method in preflight.headers["access-control-allow-methods"].split(", ")
        taken = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert set(SENT_BY_UPLOADS.lower().split(", ")) <= set(taken)
        answer = await client.get("/api/v1/images", headers={"Origin": APP})
        shown = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert set(READ_BY_UPLOADS.lower().split(", ")) <= set(shown)


async def test_errors_can_be_read_too(environment):
    given = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__STRANGER": "2 per 3600"}
    async with running_application(environment, **LISTED, **given) as (_, client):
        found = {}
        for _ in range(3):
            answer = await client.get("/api/v1/images/x", headers={"Origin": APP})
            found[answer.status_code] = allowed_origin(answer)
        assert found == {404: APP, 429: APP}
        foreign = await client.get("/api/v1/images", headers={"Origin": APP, "Host": "evil.example"})
        assert (foreign.status_code, allowed_origin(foreign)) == (403, APP)


async def test_preflights_are_not_counted(environment):
    given = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__STRANGER": "1 per 3600"}
    async with running_application(environment, **LISTED, **given) as (_, client):
        for _ in range(3):
            assert (
                await client.options("/api/v1/images", headers={"Origin": APP, **preflight_headers("GET")})
            ).status_code == 204
        assert (await client.get("/api/v1/images", headers={"Origin": APP})).status_code == 200


async def test_the_stream_can_be_read_too(environment):
    async with (
        running_application(environment, **LISTED) as (_, client),
        client.stream("GET", "/api/v1/notifications/stream", headers={"Origin": APP}) as answer,
    ):
        assert (answer.status_code, allowed_origin(answer)) == (200, APP)


async def test_a_star_allows_every_origin_but_never_a_cookie(environment):
    async with running_application(environment, **ANY_ORIGIN) as (_, client):
        for origin in (APP, OTHER, "null"):
            answer = await client.get("/api/v1/images", headers={"Origin": origin})
            assert allowed_origin(answer) == "*"
            assert "access-control-allow-credentials" not in answer.headers
            preflight = await client.options(
                "/api/v1/images", headers={"Origin": origin, **preflight_headers("DELETE")}
            )
            assert (preflight.status_code, allowed_origin(preflight)) == (204, "*")
            assert "access-control-allow-credentials" not in preflight.headers
        assert (await client.delete("/api/v1/images/x", headers={"Origin": OTHER})).status_code == 404
        riding = await client.delete("/api/v1/images/x", headers={"Origin": OTHER, "Cookie": "session=x"})
        assert (riding.status_code, riding.json()["code"]) == (403, "foreign_origin")


@pytest.mark.parametrize(("given", "status"), [(LISTED, 404), ({}, 403), (ANY_ORIGIN, 403)])
async def test_a_cookie_counts_in_a_write_of_a_listed_origin_only(environment, given, status):
    secret = "a secret that is long enough for a test"
    token = jwt.encode({"sub": "maya", "scope": "images:write", "exp": time.time() + 60}, secret, "HS256")
    async with running_application(environment, **given, GALLERY_ACCESS__JWT_SECRET=secret) as (_, client):
        signed_in = await client.post("/api/v1/session", headers={"Authorization": f"Bearer {token}"})
        assert signed_in.status_code == 201, signed_in.text
        answer = await client.delete(f"/api/v1/images/{UNKNOWN}", headers={"Origin": APP})
        assert answer.status_code == status


async def test_without_origins_no_other_origin_is_allowed(client):
    answer = await client.get("/api/v1/images", headers={"Origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_rendition_keeps_its_vary_header(environment):
    async with running_application(environment, **LISTED) as (gallery, client):
        image = await upload_image(gallery)
        answer = await client.get(f"/api/v1/images/{image.id}/original", headers={"Origin": APP})
        assert (answer.status_code, allowed_origin(answer)) == (200, APP)


@pytest.mark.parametrize(
    "text", ["app.example.org", "https://app.example.org/path", "*, https://a.example", "https://"]
)
def test_an_origin_that_is_none_is_refused(text):
    with pytest.raises(Misconfigured) as raised:
        Settings.read({"CORS_ORIGIN": text})
    assert raised.value.detail.startswith("CORS_ORIGIN is ")


def test_an_origin_may_be_written_with_a_slash():
    Settings.read({"CORS_ORIGIN": "https://App.example.org/"})


async def test_a_page_without_access_is_logged_once(environment):
    for given in ({}, LISTED):
        async with running_application(environment, **given) as (_, client):
            with capture_logs() as logged:
                for _ in range(3):
                    answer = await client.get("/api/v1/images", headers={"Origin": OTHER})
                    assert answer.status_code == 200
                await client.get("/api/v1/images", headers={"Origin": str(client.base_url).rstrip("/")})
                await client.get("/api/v1/images")
            lines = [line for line in logged if line["event"] == "cors.not_allowed"]
            assert [(line["origin"], line["method"], line["setting"]) for line in lines] == [
                (OTHER, "GET", "CORS_ORIGIN")
            ]


async def test_invented_origins_do_not_fill_log_and_memory(environment, monkeypatch):
    monkeypatch.setattr(cors, "MAX_LOGGED_ORIGINS", 3)
    async with running_application(environment) as (_, client):
        with capture_logs() as logged:
            for number in range(6):
                await client.get("/livez", headers={"Origin": f"https://{number}.example"})
        assert len([line for line in logged if line["event"] == "cors.not_allowed"]) == 3
