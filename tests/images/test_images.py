"""Images over HTTP: the contract, call by call."""

import re

import pytest

import photos
from factories import fetch_anonymously, post, wait_until_settled

UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def test_an_upload_answers_created_with_its_location(client):
    answer = await post(client, title="Lake", description="At dawn", tags=["water", "light"], alt="A lake")
    image = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/v1/images/{image['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (image["status"], image["version"], image["tags"]) == ("PENDING", 1, ["water", "light"])
    assert (image["originalName"], image["mimeType"], image["s3Key"]) == (
        "lake.jpg",
        "image/jpeg",
        f"original/{image['id']}",
    )
    assert (image["width"], image["s3Url"], image["renditions"], image["error"]) == (None, None, [], None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", image["createdAt"])
    assert image.pop("duplicate") is False
    assert (await client.get(answer.headers["location"])).json() == image


async def test_a_ready_image_has_all_its_renditions(client, processing):
    image = (await post(client, photos.a_jpeg(width=1200, height=900, exif=photos.CAMERA, gps=True))).json()
    await processing.process(image["id"])
    ready = await wait_until_settled(client, image["id"])

    assert (ready["status"], ready["width"], ready["height"], ready["attempts"]) == ("READY", 1200, 900, 1)
    assert ready["srcset"]["webp"].count("w") >= 3
    assert ready["exif"]["camera"] == "Canon EOS R6"
    assert not re.search("gps|latitude|longitude", str(ready["exif"]), re.IGNORECASE)
    assert re.fullmatch("#[0-9a-f]{6}", ready["placeholder"]["color"])
    for rendition in ready["renditions"]:
        answer = await client.get(rendition["url"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"image/{rendition['format']}"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert int(answer.headers["content-length"]) == rendition["size"] == len(answer.content)
        again = await client.get(rendition["url"], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_original_comes_back_as_it_was_sent(client, processing):
    content = photos.a_png()
    image = (await post(client, content, name="a b\u202e/../ü.png")).json()
    await processing.process(image["id"])
    url = (await wait_until_settled(client, image["id"]))["s3Url"]
    answer = await client.get(url)
    assert answer.content == content
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline; filename*=UTF-8''a%20b")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (await client.get(url, headers={"If-None-Match": answer.headers["etag"]})).status_code == 304


async def test_a_download_url_works_for_an_hour(client):
    content = photos.a_jpeg()
    image = (await post(client, content)).json()
    answer = await client.get(f"/api/v1/images/{image['id']}/download")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expiresIn"] == 3600
    assert (await fetch_anonymously(answer.json()["url"])).content == content


async def test_a_rendition_that_is_not_there_is_not_found(client, processing):
    image = (await post(client)).json()["id"]
    assert (await client.get(f"/api/v1/images/{image}/320.webp")).status_code == 404, "not yet"
    await processing.process(image)
    assert (await client.get(f"/api/v1/images/{image}/320.webp")).status_code == 200
    for file in ("321.webp", "320.tiff", "320", ".", "original.jpeg"):
        answer = await client.get(f"/api/v1/images/{image}/{file}")
        assert answer.status_code in (200, 404)
        assert file == "." or answer.json()["code"] == "rendition_not_found"
    current = await client.get(f"/api/v1/images/{image}/320.webp")
    assert current.headers["cache-control"] == "private, no-cache", "only a URL with its recipe is for ever"


async def test_the_list_is_a_bare_array_with_a_link_to_the_next_page(client):
    ids = [(await post(client, title=title)).json()["id"] for title in "abc"]
    answer = await client.get("/api/v1/images", params={"limit": 2, "status": "PENDING"})
    assert [image["id"] for image in answer.json()] == ids[:0:-1]
    url, relation = re.fullmatch(r'<(.+)>; rel="(\w+)"', answer.headers["link"]).groups()
    assert relation == "next"
    last = await client.get(url)
    assert [image["id"] for image in last.json()] == ids[:1]
    assert "link" not in last.headers


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limit=", "status=DONE", "cursor=x"])
async def test_an_invalid_query_is_refused_and_named(client, query):
    answer = await client.get(f"/api/v1/images?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == "/" + query.split("=")[0]


async def test_an_edit_changes_only_the_given_fields(client):
    image = (await post(client, title="Lake", alt="A lake")).json()
    answer = await client.patch(f"/api/v1/images/{image['id']}", json={"title": "Dawn", "tags": ["light"]})
    edited = answer.json()
    assert answer.status_code == 200
    assert (edited["title"], edited["alt"], edited["tags"], edited["version"]) == ("Dawn", "A lake", ["light"], 2)
    assert (await client.get(f"/api/v1/images/{image['id']}")).json() == edited
    assert (await client.get("/api/v1/images")).json() == [edited]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "x" * 121}, "/title"),
        ({"title": 1}, "/title"),
        ({"title": None}, "/title"),
        ({"title": "a\x00b"}, "/title"),
        ({"title": "a\nb"}, "/title"),
        ({"description": "x" * 501}, "/description"),
        ({"tags": "water"}, "/tags"),
        ({"tags": ["ok", ""]}, "/tags/1"),
        ({"status": "READY"}, "/status"),
        ([], ""),
    ],
)
async def test_an_invalid_edit_is_refused_and_named(client, body, pointer):
    image = (await post(client)).json()["id"]
    answer = await client.patch(f"/api/v1/images/{image}", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("body", [b"{", b"\xff", b"nothing"])
async def test_a_body_that_is_no_json_is_malformed(client, body):
    image = (await post(client)).json()["id"]
    answer = await client.patch(f"/api/v1/images/{image}", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


async def test_an_edit_of_an_older_version_is_refused(client):
    image = (await post(client)).json()["id"]
    first = await client.patch(f"/api/v1/images/{image}", json={"title": "a"}, headers={"If-Match": '"1"'})
    second = await client.patch(f"/api/v1/images/{image}", json={"title": "b"}, headers={"If-Match": '"1"'})
    assert (first.status_code, second.status_code) == (200, 412)
    assert second.json()["code"] == "version_mismatch"
    assert (await client.delete(f"/api/v1/images/{image}", headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete(f"/api/v1/images/{image}", headers={"If-Match": '"1", "2"'})).status_code == 200


async def test_an_unchanged_version_is_not_sent_again(client):
    image = (await post(client)).json()["id"]
    answer = await client.get(f"/api/v1/images/{image}", headers={"If-None-Match": 'W/"1"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    await client.patch(f"/api/v1/images/{image}", json={"title": "b"})
    assert (await client.get(f"/api/v1/images/{image}", headers={"If-None-Match": '"1"'})).status_code == 200


async def test_a_deleted_image_is_gone_for_ever(client):
    image = (await post(client)).json()
    answer = await client.delete(f"/api/v1/images/{image['id']}")
    assert (answer.status_code, answer.json()["id"]) == (200, image["id"])
    for call in (client.get, client.delete):
        assert (await call(f"/api/v1/images/{image['id']}")).status_code == 404
    assert (await client.patch(f"/api/v1/images/{image['id']}", json={"title": "x"})).status_code == 404
    assert (await client.get(f"/api/v1/images/{image['id']}/original")).status_code == 404
    assert (await client.get("/api/v1/images")).json() == []


@pytest.mark.parametrize("image", [UNKNOWN, "x", "1", "%00", "..", "'; DROP TABLE image", "a" * 3000])
async def test_an_invalid_id_is_not_found(client, image):
    answer = await client.get(f"/api/v1/images/{image}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
