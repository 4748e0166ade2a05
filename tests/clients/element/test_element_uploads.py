"""`<gallery-upload>` with real photos: chosen, dropped and pasted, and what becomes of them."""

import asyncio
import base64
import re
import secrets

import httpx
from playwright.async_api import expect

import photos
from element_pages import UploadPage, paths_of
from page_actions import RENDER_TIMEOUT_MS

MIB = 1024 * 1024
PASTE = """(element, base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
    const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, composed: true, cancelable: true });
    (element ?? document.body).dispatchEvent(event);
    return event.defaultPrevented;
}"""


async def shown_width(uploads: UploadPage, name: str) -> int:
    """Pixels of a row's picture, once it is there."""
    picture = uploads.row(name).locator("img")
    await expect(picture).to_be_visible(timeout=RENDER_TIMEOUT_MS)
    await expect(picture).not_to_have_js_property("naturalWidth", 0)
    return await picture.evaluate("(img) => img.naturalWidth")


async def test_photos_that_are_chosen_become_ready(uploads, a_photo, stack):
    await uploads.choose(a_photo("lake.jpg"), a_photo("hill.jpg", seed=2))
    for name in ("lake.jpg", "hill.jpg"):
        await uploads.expect_state(name, "ready")
        assert await shown_width(uploads, name) == 640
    ids = await uploads.value()
    assert len(ids) == 2
    for kind in ("gallery-uploaded", "gallery-ready"):
        events = await uploads.happened(kind)
        assert {(name, image) for _, name, image, _ in events} == {("lake.jpg", ids[0]), ("hill.jpg", ids[1])}
    assert len(await uploads.happened("change")) == len(await uploads.happened("input")) == 2
    async with httpx.AsyncClient(base_url=stack.url) as client:
        image = (await client.get(f"/api/v1/images/{ids[0]}")).json()
    assert (image["originalName"], image["status"]) == ("lake.jpg", "READY")


async def test_fields_are_sent_with_each_photo(open_uploads, a_photo, stack):
    uploads = await open_uploads('<gallery-upload tags="trip, summer" visibility="public"></gallery-upload>')
    await uploads.choose(a_photo(), button="Choose a photo")
    await uploads.expect_state("lake.jpg", "ready")
    async with httpx.AsyncClient(base_url=stack.url) as client:
        image = (await client.get(f"/api/v1/images/{(await uploads.value())[0]}")).json()
    assert (image["tags"], image["visibility"]) == (["trip", "summer"], "public")
    source = uploads.row("lake.jpg").locator("img")
    await expect(source).to_have_attribute("src", f"{stack.url}{image['renditions'][0]['url']}")


async def test_folders_are_dropped_with_all_that_is_in_them(uploads, a_photo, tmp_path):
    paths_of(tmp_path / "trip", [a_photo(seed=seed)["buffer"] for seed in range(2)], "one")
    paths_of(tmp_path / "trip/day 2", [a_photo(seed=5)["buffer"]], "two")
    (tmp_path / "trip/notes.txt").write_text("The weather was fine.")
    (tmp_path / "trip/.hidden.jpg").write_bytes(b"")
    [single] = paths_of(tmp_path, [a_photo(seed=6)["buffer"]], "single")
    await uploads.drop(single, tmp_path / "trip")
    await expect(uploads.rows).to_have_count(4)
    for name in ("single-0.jpg", "one-0.jpg", "one-1.jpg", "two-0.jpg"):
        await uploads.expect_state(name, "ready")
    notice = uploads.element.get_by_text("1 file is not a photo of an accepted type and was left out.").first
    await expect(notice).to_be_visible()


async def test_a_folder_is_chosen(open_uploads, a_photo, tmp_path):
    uploads = await open_uploads("<gallery-upload multiple directory></gallery-upload>")
    paths_of(tmp_path / "trip", [a_photo(seed=seed)["buffer"] for seed in range(2)])
    await uploads.choose(tmp_path / "trip", button="Choose a folder")
    await uploads.expect_state("photo-0.jpg", "ready")
    await uploads.expect_state("photo-1.jpg", "ready")


async def test_the_camera_of_a_phone(open_uploads, a_photo):
    body = '<gallery-upload multiple capture="environment"></gallery-upload>'
    uploads = await open_uploads(body, has_touch=True, is_mobile=True)
    await uploads.choose(a_photo("camera.jpg"), button="Take a photo")
    asked = await uploads.element.evaluate("(e) => e.shadowRoot.querySelector('input').getAttribute('capture')")
    assert asked == "environment"
    await uploads.expect_state("camera.jpg", "ready")


async def test_a_picture_is_pasted(open_uploads):
    uploads = await open_uploads("<input aria-label=Name><gallery-upload multiple></gallery-upload>")
    picture = base64.b64encode(photos.a_png(40, 30)).decode()
    await uploads.page.get_by_label("Name").focus()
    assert not await uploads.page.get_by_label("Name").evaluate(PASTE, picture), "another field has the focus"
    await uploads.button("Choose photos").focus()
    assert await uploads.element.evaluate(PASTE, picture)
    await uploads.expect_state("image.png", "ready")


async def test_the_same_photo_again_is_marked(uploads, a_photo):
    photo = a_photo()
    await uploads.choose(photo)
    await uploads.expect_state("lake.jpg", "ready")
    await uploads.choose({**photo, "name": "again.jpg"})
    await uploads.expect_state("again.jpg", "ready")
    await expect(uploads.row("again.jpg")).to_contain_text("Uploaded before")
    assert len(await uploads.value()) == 1, "one image is one entry of the form"


async def test_a_refused_file_says_why_and_is_removed(uploads, a_photo):
    broken = {**a_photo("broken.jpg"), "buffer": b"this is no photo"}
    await uploads.choose(broken, a_photo("lake.jpg"))
    await uploads.expect_state("broken.jpg", "failed")
    await expect(uploads.row("broken.jpg")).to_contain_text("not a supported picture")
    assert (await uploads.happened("gallery-failed"))[0][3] == "not_a_picture"
    await uploads.button("Remove broken.jpg").click()
    await expect(uploads.rows).to_have_count(1)
    await uploads.expect_state("lake.jpg", "ready")


async def test_a_lost_network_is_told_and_the_photo_sent_again(uploads, a_photo):
    await uploads.page.evaluate(
        "document.querySelector('gallery-upload').gallery = createGallery({url: '/', retryForMs: 0})"
    )
    await uploads.page.route("**/api/v1/images", lambda route: route.abort())
    await uploads.choose(a_photo())
    await uploads.expect_state("lake.jpg", "failed")
    await expect(uploads.row("lake.jpg")).to_contain_text("No connection to the server.")
    await uploads.page.unroute("**/api/v1/images")
    await uploads.button("Try lake.jpg again").click()
    await uploads.expect_state("lake.jpg", "ready")


async def test_a_large_photo_is_paused_and_goes_on(uploads, a_photo):
    network = await uploads.page.context.new_cdp_session(uploads.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4 * MIB}
    await network.send("Network.emulateNetworkConditions", slow)
    await uploads.choose(a_photo("large.jpg", size=9 * MIB))
    await expect(uploads.row("large.jpg")).to_contain_text("% of 9.4 MB")
    await uploads.button("Pause large.jpg").click()
    await uploads.expect_state("large.jpg", "paused")
    await asyncio.sleep(0.3)
    await uploads.expect_state("large.jpg", "paused")
    await network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    await uploads.button("Resume large.jpg").click()
    await uploads.expect_state("large.jpg", "ready")


async def test_one_photo_replaces_the_other(open_uploads, a_photo):
    uploads = await open_uploads("<gallery-upload></gallery-upload>")
    await uploads.choose(a_photo("first.jpg"), button="Choose a photo")
    await uploads.expect_state("first.jpg", "ready")
    first = await uploads.value()
    await uploads.choose(a_photo("second.jpg"), button="Choose another photo")
    await uploads.expect_state("second.jpg", "ready")
    await expect(uploads.rows).to_have_count(1)
    assert len(await uploads.value()) == 1
    assert await uploads.value() != first


async def test_no_more_than_the_page_wants(open_uploads, a_photo):
    uploads = await open_uploads("<gallery-upload multiple max-files=2></gallery-upload>")
    await expect(uploads.element.get_by_text("Up to 2 photos")).to_be_visible()
    await uploads.choose(*(a_photo(f"{number}.jpg") for number in range(3)))
    await expect(uploads.rows).to_have_count(2)
    await expect(uploads.element.get_by_text("Only 2 photos can be added").first).to_be_visible()


async def test_heic_is_shown_by_its_rendition(uploads):
    """Chromium cannot decode it."""
    heic = photos.a_heic(seed=secrets.randbelow(1000))
    await uploads.choose({"name": "phone.heic", "mimeType": "image/heic", "buffer": heic})
    await uploads.expect_state("phone.heic", "ready")
    assert await shown_width(uploads, "phone.heic") > 0
    await expect(uploads.row("phone.heic").locator("img")).to_have_attribute("src", re.compile("[?&]sig="))


async def test_without_the_right_to_show_blobs_there_is_a_drawing(open_uploads, a_photo):
    uploads = await open_uploads(policy="default-src 'self'")
    await uploads.choose(a_photo())
    await uploads.expect_state("lake.jpg", "ready")
    await expect(uploads.row("lake.jpg").locator("svg").first).to_be_visible()
    assert await uploads.page.evaluate("violations.splice(0).every((v) => v.startsWith('img-src'))")
