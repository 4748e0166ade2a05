"""`<gallery-upload>` as a field of a form."""

import re
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import expect

FORM = """<form action="/page-sent">
    <label for="photos">Your photos</label>
    <gallery-upload id="photos" name="photo" multiple {}></gallery-upload>
    <button>Send</button> <button type="reset">Reset</button>
</form>"""
MESSAGE = "(element) => element.checkValidity() ? '' : element.validationMessage"


async def test_the_ids_of_the_images_are_sent(open_uploads, a_photo):
    uploads = await open_uploads(FORM.format("required"))
    await uploads.choose(a_photo("1.jpg"), a_photo("2.jpg"))
    for name in ("1.jpg", "2.jpg"):
        await uploads.expect_state(name, "ready")
    ids = await uploads.value()
    await uploads.page.get_by_role("button", name="Send").click()
    await uploads.page.wait_for_url(re.compile("page-sent"))
    assert parse_qs(urlsplit(uploads.page.url).query) == {"photo": ids}


async def test_a_form_waits_for_its_photos(open_uploads, a_photo):
    uploads = await open_uploads(FORM.format("required"))
    assert await uploads.element.evaluate(MESSAGE) == "Please add a photo."
    await uploads.page.route("**/api/v1/images", lambda route: None)  # no answer comes
    await uploads.choose(a_photo("1.jpg"), a_photo("2.jpg"))
    await expect(uploads.rows).to_have_count(2)
    await uploads.page.get_by_role("button", name="Send").click()
    assert await uploads.happened("submit") == []
    assert await uploads.element.evaluate(MESSAGE) == "2 photos are still uploading."
    assert await uploads.page.evaluate("document.activeElement.id") == "photos", "the message is at the element"
    await uploads.button("Pause all").click()
    await uploads.expect_state("1.jpg", "paused")
    assert await uploads.element.evaluate(MESSAGE) == "2 photos are paused: resume or remove them."
    await uploads.page.unroute("**/api/v1/images")
    await uploads.button("Resume all").click()
    for name in ("1.jpg", "2.jpg"):
        await uploads.expect_state(name, "ready", "processing")
    assert await uploads.element.evaluate(MESSAGE) == ""


async def test_a_photo_that_was_refused_has_to_be_removed(open_uploads, a_photo):
    uploads = await open_uploads(FORM.format(""))
    assert await uploads.element.evaluate(MESSAGE) == "", "it is not required"
    await uploads.choose({**a_photo("broken.jpg"), "buffer": b"this is no photo"})
    await uploads.expect_state("broken.jpg", "failed")
    assert await uploads.element.evaluate(MESSAGE) == "1 photo was not uploaded: try again or remove it."
    await uploads.button("Remove broken.jpg").click()
    await expect(uploads.rows).to_have_count(0)
    assert await uploads.element.evaluate(MESSAGE) == ""


async def test_its_own_message(open_uploads):
    uploads = await open_uploads(FORM.format(""))
    await uploads.element.evaluate("(element) => element.setCustomValidity('Not today.')")
    assert await uploads.element.evaluate(MESSAGE) == "Not today."
    await uploads.element.evaluate("(element) => element.setCustomValidity('')")
    assert await uploads.element.evaluate(MESSAGE) == ""


async def test_images_of_the_value_are_shown_and_come_back_with_a_reset(open_uploads, uploads, a_photo):
    await uploads.choose(a_photo("lake.jpg"))
    await uploads.expect_state("lake.jpg", "ready")
    [image] = await uploads.value()
    edited = await open_uploads(FORM.format(f'value="{image}"'))
    await expect(edited.row("lake").locator("img")).to_be_visible()
    assert await edited.happened("change") == [], "the page knows its own value"
    await edited.choose(a_photo("hill.jpg"))
    await edited.expect_state("hill.jpg", "ready")
    await edited.button("Remove lake.jpg").or_(edited.button("Remove lake")).click()
    await expect(edited.rows).to_have_count(1)
    assert image not in await edited.value()
    await edited.page.get_by_role("button", name="Reset").click()
    await expect(edited.row("lake")).to_have_count(1)
    assert await edited.value() == [image]


async def test_a_page_sets_the_value(uploads, a_photo):
    await uploads.choose(a_photo("1.jpg"), a_photo("2.jpg"))
    for name in ("1.jpg", "2.jpg"):
        await uploads.expect_state(name, "ready")
    first, second = await uploads.value()
    told = len(await uploads.happened("change"))
    await uploads.element.evaluate("(element, ids) => { element.value = ids }", [second])
    await expect(uploads.rows).to_have_count(1)
    assert await uploads.value() == [second]
    await uploads.element.evaluate("(element, ids) => { element.value = ids }", [first, second])
    assert sorted(await uploads.value()) == sorted([first, second])
    await expect(uploads.rows).to_have_count(2)
    assert len(await uploads.happened("change")) == told


async def test_a_fieldset_disables_it(open_uploads, a_photo, tmp_path):
    uploads = await open_uploads(f"<fieldset disabled>{FORM.format('')}</fieldset>")
    await expect(uploads.button("Choose photos")).to_be_disabled()
    photo = tmp_path / "lake.jpg"
    photo.write_bytes(a_photo()["buffer"])
    await uploads.drop(photo)
    assert uploads.page.url.endswith("/page"), "the browser has not left the page to show the file"
    await expect(uploads.rows).to_have_count(0)
    await uploads.page.locator("fieldset").evaluate("(fieldset) => { fieldset.disabled = false }")
    await uploads.drop(photo)
    await uploads.expect_state("lake.jpg", "ready")


async def test_going_back_brings_the_photos_back(open_uploads, a_photo):
    uploads = await open_uploads(FORM.format("required"))
    await uploads.choose(a_photo("lake.jpg"))
    await uploads.expect_state("lake.jpg", "ready")
    ids = await uploads.value()
    await uploads.page.get_by_role("button", name="Send").click()
    await uploads.page.wait_for_url(re.compile("page-sent"))
    await uploads.page.go_back()
    await expect(uploads.row("lake")).to_have_count(1)
    assert await uploads.value() == ids


async def test_out_of_the_page_an_upload_waits_and_a_move_does_not_stop_it(uploads, a_photo):
    await uploads.page.route("**/api/v1/images", lambda route: None)
    await uploads.choose(a_photo("lake.jpg"))
    await uploads.expect_state("lake.jpg", "uploading")
    states = "(element) => element.items.map((item) => item.state)"
    element = await uploads.element.element_handle()
    await uploads.page.evaluate("document.body.prepend(document.querySelector('gallery-upload'))")
    await uploads.page.wait_for_timeout(100)
    assert await element.evaluate(states) == ["uploading"]
    await uploads.page.evaluate("document.querySelector('gallery-upload').remove()")
    await uploads.page.wait_for_timeout(100)
    assert await element.evaluate(states) == ["paused"]
    await uploads.page.unroute("**/api/v1/images")
    await element.evaluate("(element) => document.querySelector('main').append(element)")
    await uploads.expect_state("lake.jpg", "ready")
