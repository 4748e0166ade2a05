"""The security headers of every response."""

import pytest

from conftest import running_application
from factories import upload_image

CORP = "cross-origin-resource-policy"


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/openapi.json", "/static/home.js", "/livez", "/api/v1/images", "/api/v1/images/x", "/no"]
)
async def test_every_response_has_its_type_and_is_from_gallery(client, path):
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers[CORP] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-request-id"]
    assert "strict-transport-security" not in headers, "the request came without TLS"
    assert not {"server", "x-powered-by"} & set(headers)


@pytest.mark.parametrize("path", ["/", "/api"])
async def test_a_page_is_alone_and_asks_for_nothing(client, path):
    headers = (await client.get(path, headers={"Accept": "text/html"})).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "cross-origin-opener-policy" not in (await client.get("/api/v1/images")).headers


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "same-site"), ({"CORS_ORIGIN": "https://app.example.org"}, "cross-origin")]
)
async def test_a_picture_can_be_shown_by_pages_of_the_same_site_or_of_those_that_may_read(environment, given, expected):
    async with running_application(environment, **given) as (gallery, client):
        image = await upload_image(gallery)
        for answer in [
            await client.get(f"/api/v1/images/{image.id}/original"),
            await client.get(f"/api/v1/images/{image.id}/original", headers={"If-None-Match": f'"{image.sha256}"'}),
        ]:
            assert answer.status_code in (200, 304)
            assert answer.headers[CORP] == expected
            assert "sandbox" in answer.headers["content-security-policy"]
            assert len(answer.headers.get_list("content-security-policy")) == 1
        assert (await client.get(f"/api/v1/images/{image.id}")).headers[CORP] == "same-origin"


async def test_behind_tls_it_stays_with_tls(environment):
    async with running_application(environment, GALLERY_PROXIES="127.0.0.1", GALLERY_RATE__ENABLED="false") as (
        _,
        client,
    ):
        answer = await client.get("/", headers={"X-Forwarded-Proto": "https"})
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in (await client.get("/")).headers


async def test_a_public_picture_can_be_shown_by_any_page(gallery, client):
    image = await upload_image(gallery, visibility="public")
    assert (await client.get(f"/api/v1/images/{image.id}/original")).headers[CORP] == "cross-origin"
