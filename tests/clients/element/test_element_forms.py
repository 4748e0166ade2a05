"""`<gallery-upload>` as a field of a form."""

import re
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import expect

FORM = """<form action="/page-sent">
    <label for="photos">Your photos</label>
    <gallery-upload id="photos" name="photo" multiple {}></gallery-upload>
    <button>Send</button> <button type="reset">Reset</button>
</form>"""
LISTEN = """(element) => {
    window.seen = [];
    const sent = () => new FormData(element.form).getAll("photo").length;
    for (const type of ["change", "gallery-uploaded", "gallery-ready"])
      element.addEventListener(type, () => seen.push([type, element.checkValidity(), sent()]));
}"""
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


async def test_a_listener_finds_the_form_as_it_is_then(open_uploads, a_photo):
    """So that it can enable a button, or send the form."""
    uploads = await open_uploads(FORM.format("required"))
    await uploads.element.evaluate(LISTEN)
    await uploads.choose(a_photo("1.jpg"))
    await uploads.expect_state("1.jpg", "ready")
    await uploads.wait_until("seen.length >= 3")
    seen = await uploads.page.evaluate("seen")
    assert sorted(kind for kind, _, _ in seen) == ["change", "gallery-ready", "gallery-uploaded"]
    assert all(valid and images == 1 for _, valid, images in seen), seen


async def test_a_framework_sets_the_value_as_a_text_or_not_at_all(uploads, a_photo):
    await uploads.choose(a_photo("1.jpg"), a_photo("2.jpg"))
    for name in ("1.jpg", "2.jpg"):
        await uploads.expect_state(name, "ready")
    ids = await uploads.value()
    for nothing in ("null", "undefined", "''"):
        await uploads.element.evaluate(f"(element) => {{ element.value = {nothing} }}")
        assert await uploads.value() == []
    await uploads.element.evaluate("(element, ids) => { element.value = ids }", ", ".join(ids))
    assert await uploads.value() == ids
    await expect(uploads.rows).to_have_count(2)
    await uploads.element.evaluate("(element) => { element.messages = null }")


async def test_a_value_longer_than_the_limit_leaves_no_room(open_uploads, uploads, a_photo):
    names = [f"{number}.jpg" for number in range(3)]
    await uploads.choose(*map(a_photo, names))
    for name in names:
        await uploads.expect_state(name, "ready")
    full = await open_uploads(
        f'<gallery-upload multiple max-files=1 value="{",".join(await uploads.value())}"></gallery-upload>'
    )
    await expect(full.rows).to_have_count(3)
    await full.choose(*(a_photo(f"more {number}.jpg") for number in range(4)))
    await expect(full.element.get_by_text("Only 1 photo can be added").first).to_be_visible()
    await expect(full.rows).to_have_count(3)


async def test_a_reset_ends_what_is_still_read_of_a_choice(open_uploads, a_photo):
    """Many files are taken in portions: no portion comes after the reset."""
    uploads = await open_uploads(FORM.format(""))
    await uploads.page.route("**/api/v1/images", lambda route: None)
    await uploads.element.evaluate("""(element) => {
        const files = Array.from({ length: 1000 }, (_, n) => new File([`${n}`], `${n}.jpg`, { type: "image/jpeg" }));
        element.addFiles(files);
        window.waiting = element.checkValidity();
        setTimeout(() => element.form.reset());
    }""")
    assert await uploads.page.evaluate("waiting") is False, "the form does not go without what is still read"
    await uploads.wait_until("document.querySelector('gallery-upload').checkValidity()")
    await expect(uploads.rows).to_have_count(0)


async def test_taken_out_twice_and_put_in_again_it_goes_on(uploads, a_photo):
    await uploads.page.route("**/api/v1/images", lambda route: None)
    await uploads.choose(a_photo("1.jpg"))
    await uploads.expect_state("1.jpg", "uploading")
    await uploads.element.evaluate("""async (element) => {
        const parent = element.parentNode;
        element.remove();
        parent.append(element);
        element.remove();
        await new Promise((done) => setTimeout(done, 50));
        window.left = element.items[0].state;
        parent.append(element);
    }""")
    assert await uploads.page.evaluate("left") == "paused"
    await uploads.expect_state("1.jpg", "waiting", "uploading")
