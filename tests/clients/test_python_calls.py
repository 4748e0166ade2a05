"""The other calls of the Python client."""

import asyncio
import json
import pickle
import time
from pathlib import Path

import httpx
import pytest

import photos
from clients_proxy import canned
from conftest import running_application
from credentials import closed_application, make_token
from factories import upload_image
from failed_work import fail_images
from gallery_client import AsyncGallery, Focus, Gallery, GalleryError, GalleryTimeout, GalleryUnavailable, sign

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "docs" / "signing-vectors.json").read_text())["vectors"]
UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def test_images_come_page_by_page(far_kit, proxy, tag):
    uploaded = [await far_kit.upload(photos.a_jpeg(seed=n) + tag.encode(), tags=[tag, "x y&z"]) for n in range(5)]
    proxy.requests.clear()
    found = [image.id async for image in far_kit.images(tags=[tag, "x y&z"], limit=2)]
    assert found == [image.id for image in reversed(uploaded)]
    assert len(proxy.requests) == 3


async def test_images_are_found_and_sorted(kit, photo, tag):
    first = await kit.upload(photo, title=f"Hill {tag}")
    second = await kit.upload(photo + b"2", title=f"Bay {tag}")
    assert [image.id async for image in kit.images(search=tag, sort="title")] == [second.id, first.id]
    await kit.wait(first)
    await kit.wait(second)
    assert [image.id async for image in kit.images(search=tag, status=["READY", "FAILED"])] == [second.id, first.id]
    assert [image.id async for image in kit.images(search=tag, status="FAILED")] == []
    [signed] = [image async for image in kit.images(search=f"bay {tag}", signed=True)]
    assert "sig=" in signed.original


async def test_pages_and_uploads_stay_at_the_address_of_the_caller(environment, connect, large_photo):
    settings = {"GALLERY_PUBLIC_URL": "https://img.example.org", "GALLERY_ACCESS__OPEN": "true"}
    async with running_application(environment, **settings) as (gallery, client):
        uploaded = [(await upload_image(gallery)).id for _ in range(3)]
        async with connect(str(client.base_url)) as kit:
            assert [image.id async for image in kit.images(limit=1)] == uploaded[::-1]
            assert (await kit.upload(large_photo)).original.startswith("https://img.example.org/")


async def test_an_image_is_read_changed_and_deleted(kit, photo):
    image = await kit.wait(await kit.upload(photo, focus=Focus(0.1, 0.2)))
    assert (await kit.get(image.id)) == image
    changed = await kit.edit(image, title="Lake", tags=("a",), focus=(0.5, 1), if_version=image.version)
    assert (changed.title, changed.tags, changed.focus) == ("Lake", ["a"], Focus(0.5, 1))
    with pytest.raises(GalleryError) as caught:
        await kit.edit(image, title="Hill", if_version=image.version)
    assert (caught.value.code, caught.value.status) == ("version_mismatch", 412)
    assert (await kit.edit(image, focus=None)).focus is None
    assert (await kit.delete(image)).id == image.id
    with pytest.raises(GalleryError) as caught:
        await kit.get(image.id)
    error = caught.value
    assert (error.code, error.status, error.errors) == ("image_not_found", 404, [])
    assert error.request_id
    assert error.detail in str(error)


@pytest.mark.parametrize("id_", ["none", "../../../health", "a b?c"])
async def test_any_text_may_be_asked_for(kit, id_):
    with pytest.raises(GalleryError) as caught:
        await kit.get(id_)
    assert caught.value.status == 404


async def test_waiting_ends_when_the_image_has_failed(gallery, processing, client, connect):
    [failed] = await fail_images(gallery, processing, "Lake")
    pending = await upload_image(gallery)
    async with connect(str(client.base_url)) as kit:
        with pytest.raises(GalleryError) as caught:
            await kit.wait(failed)
        assert (caught.value.code, caught.value.status) == ((await kit.get(failed)).error.code, None)
        began = time.monotonic()
        with pytest.raises(GalleryTimeout) as late:
            await kit.wait(pending.id, timeout=0.5)
        assert isinstance(late.value, TimeoutError)
        assert time.monotonic() - began < 2


async def test_an_original_is_downloaded_whole_or_not_at_all(far_kit, proxy, photo, tmp_path):
    image = await far_kit.upload(photo)
    path = tmp_path / "copy.jpg"
    proxy.lost = 1
    assert (await far_kit.download(image.id, path)).id == image.id
    assert path.read_bytes() == photo
    proxy.answers = [canned(200, "other bytes")]
    proxy.break_all()
    with pytest.raises(GalleryError) as caught:
        await far_kit.download(image, tmp_path / "other.jpg")
    assert caught.value.code == "receipt_mismatch"
    assert not (tmp_path / "other.jpg").exists()


async def test_files_are_checked(kit, photo):
    image = await kit.upload(photo)
    assert await kit.check([image.sha256, "0" * 64]) == {image.sha256: image.id}
    many = [f"{n:064x}" for n in range(6000)]
    assert await kit.check([*many, image.sha256]) == {image.sha256: image.id}


async def test_an_upload_ticket_is_made(kit, stack, photo):
    ticket = await kit.upload_ticket(uses=2, expires_in=60, max_bytes=5_000_000, types=["image/jpeg"], tags=["page"])
    assert ticket.expires_in == 60
    async with httpx.AsyncClient(base_url=stack.url) as page:
        headers = {"Authorization": f"Upload {ticket.ticket}"}
        answer = await page.post("/api/v1/images", files={"file": photo}, headers=headers)
    assert (answer.status_code, answer.json()["tags"]) == (201, ["page"])


async def test_urls_of_pictures_lead_to_them(stack, photo):
    with Gallery(stack.url + "/") as kit:
        image = await asyncio.to_thread(lambda: kit.wait(kit.upload(photo)))
        url = kit.picture_url(image, w=80, h=60, fit="cover", focus=(0.25, 1), format="jpeg", gray=True, blur=0.5)
        srcset = kit.srcset(image)
        original = kit.absolute(image.original)
    shown = await asyncio.to_thread(httpx.get, url)
    assert (shown.status_code, shown.headers["Content-Type"]) == (200, "image/jpeg")
    assert photos.opened(shown.content).size == (80, 60)
    candidates = [candidate.split(" ") for candidate in srcset.split(", ")]
    assert [width for _, width in candidates] == ["320w", "640w"]
    for found in [url for url, _ in candidates]:
        assert (await asyncio.to_thread(httpx.get, found)).headers["Content-Type"] == "image/webp"
    assert (await asyncio.to_thread(httpx.get, original)).content == photo


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["about"])
def test_the_vectors_are_signed(vector):
    signed = sign(
        url="https://img.example.org",
        key=vector["key"],
        image=vector["image"],
        query=vector["query"],
        expires_at=vector["exp"],
    )
    assert signed == vector["url"]


def test_links_are_the_same_for_an_hour_and_refuse_what_no_picture_has():
    with Gallery("https://img.example.org") as kit:
        signed = kit.sign(UNKNOWN, key=VECTORS[0]["key"], w=800, fit="cover", focus=Focus(0.5, 0.25))
        assert f"/{UNKNOWN}/picture?fit=cover&focus=0.5,0.25&w=800&kid=web1&exp=" in signed
        exp = int(httpx.URL(signed).params["exp"])
        assert exp % 3600 == 0
        assert 3600 <= exp - time.time() <= 7200
        with pytest.raises(ValueError, match="bg"):
            kit.sign(UNKNOWN, key=VECTORS[0]["key"], bg="a&sig=1")
        with pytest.raises(ValueError, match="rect"):
            kit.picture_url(UNKNOWN, rect="1 2")
    with pytest.raises(ValueError, match="twice"):
        sign(url="https://img.example.org", key=VECTORS[0]["key"], image=UNKNOWN, query="w=1&w=2")


async def test_a_token_may_be_a_text_or_a_function(settings, connect):
    async with closed_application(settings) as (_, client):
        url = str(client.base_url)
        async with connect(url) as kit:
            with pytest.raises(GalleryError) as caught:
                [image async for image in kit.images()]
            assert (caught.value.code, caught.value.status) == ("credentials_required", 401)
        async with connect(url, make_token()) as kit:
            assert [image async for image in kit.images()] == []
        tokens = [make_token(), make_token(exp=1), make_token()]
        async with connect(url, tokens.pop) as kit:
            assert [image async for image in kit.images()] == []
            assert [image async for image in kit.images()] == []
        assert tokens == [], "a new one once the old one had expired"
        async with connect(url, lambda: make_token(exp=1)) as kit:
            with pytest.raises(GalleryError) as caught:
                await kit.get(UNKNOWN)
            assert caught.value.code == "token_expired"


async def test_a_token_may_be_waited_for_in_asyncio(settings):
    async def token() -> str:
        await asyncio.sleep(0)
        return make_token()

    async with closed_application(settings) as (_, client):
        async with AsyncGallery(str(client.base_url), token) as kit:
            assert [image async for image in kit.images()] == []
        with Gallery(str(client.base_url), token) as kit, pytest.raises(RuntimeError, match="AsyncGallery"):
            kit.get(UNKNOWN)


async def test_pages_of_proxies_are_errors_too(far_kit, proxy):
    proxy.answers = [canned(403, "<h1>No</h1>")]
    with pytest.raises(GalleryError) as caught:
        await far_kit.get(UNKNOWN)
    assert (caught.value.code, caught.value.status) == ("http_403", 403)
    proxy.answers = [canned(200, "<h1>Sign in</h1>")]
    with pytest.raises(GalleryError) as caught:
        await far_kit.get(UNKNOWN)
    assert caught.value.code == "answer_not_understood"
    proxy.answers = [canned(302, Location="https://login.example.org")]
    with pytest.raises(GalleryError) as caught:
        await far_kit.get(UNKNOWN)
    assert caught.value.code == "http_302"


async def test_a_date_says_when_to_try_again(far_kit, proxy):
    proxy.answers = [canned(503, Retry_After="Sun, 06 Nov 1994 08:49:37 GMT")]
    with pytest.raises(GalleryError) as caught:
        await far_kit.get(UNKNOWN)
    assert caught.value.code == "image_not_found"
    assert len(proxy.requests) == 2


def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(ValueError, match="http"):
        Gallery("img.example.org")


def test_errors_can_be_sent_to_other_processes():
    for error in (GalleryError("a", "A.", status=404, request_id="r"), GalleryUnavailable("gone")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), vars(copy)) == (type(error), vars(error))
