"""The page while the server refuses: waiting parts show it, recover by themselves, and respect `Retry-After`."""

import asyncio
import json
from itertools import pairwise

from playwright.async_api import expect

from conftest import serve_api
from page_actions import (
    RENDER_TIMEOUT_MS,
    a_file,
    a_photo,
    choose_files,
    expect_ready,
    refuse_requests,
    tile,
    unique_name,
    upload,
)
from photos import a_jpeg


async def test_an_upload_waits_for_the_retry_after_of_the_server(visit):
    page, name = visit.page, unique_name("Patient")
    came = await refuse_requests(page, "**/api/v1/images", times=1, retry_after=4)
    await choose_files(page, a_file(f"{name}.jpg", a_photo(name)))
    await expect(tile(page, f"{name}.jpg").locator(".word")).to_have_text("Waiting for the server")
    message = page.locator(".message", has_text="The object store is unavailable")
    await expect(message).to_contain_text("1 upload waits for the server; next attempt in ")
    await expect(page.locator("#connection")).to_have_text("Waiting for the server")
    await expect_ready(page, name)
    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(message).to_have_count(0)
    assert came[1] - came[0] >= 4


async def test_one_upload_alone_finds_out_whether_the_server_is_back(visit):
    page, names = visit.page, [unique_name("Queued") for _ in range(4)]
    came = await refuse_requests(page, "**/api/v1/images", times=4, retry_after=1)
    await choose_files(page, *[a_file(f"{name}.jpg", a_photo(name)) for name in names])
    for name in names:
        await expect(tile(page, name)).to_have_attribute("data-state", "ready", timeout=RENDER_TIMEOUT_MS)
    assert came[3] - came[2] >= 1, "three at once were refused, then one"
    assert came[4] - came[3] >= 1
    assert len(came) == 4 + 4


async def test_an_upload_that_was_lost_on_the_way_can_be_tried_at_once(visit):
    page, name = visit.page, unique_name("Twice")
    lost = 0

    async def lose(route) -> None:
        nonlocal lost
        lost += 1
        await (route.abort() if lost == 1 else route.continue_())

    await page.route("**/api/v1/images", lose)
    await choose_files(page, a_file(f"{name}.jpg", a_photo(name)))
    message = page.locator(".message", has_text="Gallery cannot be reached. 1 upload waits")
    await message.get_by_role("button", name="Try now").click()
    await expect_ready(page, name)


async def test_a_deleted_file_is_not_taken_for_an_unavailable_server(visit, tmp_path):
    page, name = visit.page, unique_name("Moved")
    came = await refuse_requests(page, "**/api/v1/images", times=1)
    file = tmp_path / f"{name}.jpg"
    file.write_bytes(a_photo(name))
    await page.locator(".bar input[type=file]").set_input_files(file)
    await expect(page.locator(".message")).to_contain_text("next attempt in")
    file.unlink()
    await expect(tile(page, file.name).locator(".sentence")).to_have_text("The file can no longer be read.")
    await expect(page.locator("#connection")).to_have_text("Live")
    assert len(came) <= 2


async def test_one_upload_that_never_gets_an_answer_does_not_hold_up_the_others(visit):
    page, names = visit.page, [unique_name("Fine") for _ in range(4)]
    bad = unique_name("Poison")

    async def answer(route) -> None:
        await (route.abort() if bad.encode() in route.request.post_data_buffer else route.continue_())

    await page.route("**/api/v1/images", answer)
    await choose_files(page, *[a_file(f"{name}.jpg", a_photo(name)) for name in (bad, *names)])
    for name in names:
        await expect_ready(page, name)
    waiting = page.locator(".message", has_text="1 upload waits for the server")
    await waiting.get_by_role("button", name="Dismiss this message").click()
    await asyncio.sleep(1.2)
    await expect(waiting).to_have_count(0)  # although it counts the seconds
    await tile(page, f"{bad}.jpg").get_by_role("button", name=f"Cancel upload of {bad}.jpg").click()
    await expect(page.locator("#connection")).to_have_text("Live")


async def test_photos_that_do_not_load_show_it_and_are_loaded_again(open_page, stack, http):
    name = unique_name("Late")
    image = await upload(http, name)
    visit = await open_page(stack.url)
    page = visit.page
    await page.goto("/")
    await expect(tile(page, name)).to_have_attribute("data-state", "ready", timeout=RENDER_TIMEOUT_MS)
    came = await refuse_requests(page, f"**/{image['id']}/*.webp*", times=3)
    await page.reload()
    await expect(tile(page, name)).to_have_attribute("data-photo", "broken")
    await expect(tile(page, name).locator(".missing")).to_be_visible()
    await expect(page.locator("#connection")).to_have_text("Waiting for the server")
    await expect_ready(page, name)
    await expect(tile(page, name).locator(".missing")).to_be_hidden()
    await expect(page.locator("#connection")).to_have_text("Live")
    assert len(came) >= 4


async def test_a_deleted_photo_is_not_requested_again(open_page, stack, http):
    name = unique_name("Gone")
    image = await upload(http, name)
    page = (await open_page(stack.url)).page
    await page.goto("/")
    await expect(tile(page, name)).to_have_attribute("data-state", "ready", timeout=RENDER_TIMEOUT_MS)
    came = await refuse_requests(page, f"**/{image['id']}/*.webp*", times=99, status=404)
    await page.reload()
    await expect(tile(page, name)).to_have_attribute("data-photo", "lost")
    await expect(tile(page, name).locator(".missing")).to_have_text("Not loaded.", use_inner_text=True)
    await expect(page.locator("#connection")).to_have_text("Live")
    count_before = len(came)
    await asyncio.sleep(3)
    assert len(came) == count_before


async def test_a_refused_stream_is_opened_again_after_retry_after(open_page, stack):
    page = (await open_page(stack.url)).page
    came: list[tuple[str, float]] = []

    async def refuse(route) -> None:
        came.append((route.request.method, asyncio.get_running_loop().time()))
        if len(came) > 4:
            await route.continue_()
        else:
            await route.fulfill(status=503, body="", headers={"Retry-After": "4"})

    await page.route("**/api/v1/notifications/stream*", refuse)
    await page.goto("/")
    await expect(page.locator("#connection")).to_have_text("Live", timeout=RENDER_TIMEOUT_MS)
    opened_at = [at for method, at in came if method == "GET"]
    assert len(opened_at) == 3
    assert min(later - earlier for earlier, later in pairwise(opened_at)) >= 4


async def test_a_refused_list_is_read_again_after_retry_after(open_page, stack):
    page = (await open_page(stack.url)).page
    came = await refuse_requests(page, "**/api/v1/images?*", times=2, retry_after=4)
    await page.goto("/")
    await expect(page.locator(".message")).to_contain_text("The object store is unavailable")
    await expect(page.locator("#connection")).to_have_text("Waiting for the server")
    await page.locator("body[data-read]").wait_for()
    await expect(page.locator("#connection")).to_have_text("Live")
    assert came[1] - came[0] >= 4
    assert came[2] - came[1] >= 4


async def test_a_permanent_refusal_is_shown_once_and_not_retried(visit):
    page, name = visit.page, unique_name("Full")
    came = await refuse_requests(page, "**/api/v1/images", times=1, status=413)
    await choose_files(page, a_file(f"{name}.jpg", a_photo(name)))
    refused = tile(page, f"{name}.jpg")
    await expect(refused.locator(".sentence")).to_contain_text("unavailable")
    await expect(refused.locator(".again")).to_be_hidden()
    await refused.get_by_role("button", name=f"Dismiss {name}.jpg").click()
    await expect(refused).to_have_count(0)
    assert len(came) == 1


async def test_a_failed_image_shows_its_error_and_can_be_retried_and_deleted(open_page, gallery, processing):
    async with serve_api(gallery) as url:
        visit = await open_page(url)
        page = visit.page
        await page.goto("/")
        await page.locator("body[data-read]").wait_for()
        await choose_files(page, a_file("torn.jpg", a_jpeg()[:9_000]))
        torn = tile(page, "torn")
        await expect(torn).to_have_attribute("data-state", "waiting")
        image = await torn.get_attribute("data-id")
        await processing.process(image)
        await expect(torn.locator(".failure .which")).to_have_text("torn.jpg")
        await expect(torn.locator(".sentence")).to_contain_text("damaged")
        await expect(page.locator(".message")).to_contain_text("torn: The picture is damaged")
        await torn.get_by_role("button", name="Retry torn").click()
        await expect(torn).to_have_attribute("data-state", "waiting")
        await processing.process(image)
        await expect(torn).to_have_attribute("data-state", "failed")
        await torn.get_by_role("button", name="Delete torn").click()
        await page.get_by_role("dialog", name="Delete torn?").get_by_role("button", name="Delete").click()
        await expect(torn).to_have_count(0)
        assert await visit.find_errors() == []


async def test_photos_of_others_that_wait_have_a_name(open_page, gallery):
    async with serve_api(gallery) as url:
        page = (await open_page(url)).page
        await page.goto("/")
        await page.locator("body[data-read]").wait_for()
        body = {"name": "ferry.jpg", "bytes": list(a_jpeg())}
        sent = """({ name, bytes }) => { const form = new FormData();
            form.append("file", new Blob([new Uint8Array(bytes)]), name);
            return fetch("/api/v1/images", { method: "POST", body: form }).then((answer) => answer.status); }"""
        assert await page.evaluate(sent, json.loads(json.dumps(body))) == 201
        await expect(page.locator(".tile .state")).to_contain_text("ferry.jpg")
        await expect(page.locator(".tile .state .which")).to_be_visible()
