"""`useUpload` in a browser."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import unique_photo


async def choose(page: Page, *names: str, content: bytes | None = None) -> None:
    files = [{"name": name, "mimeType": "image/jpeg", "buffer": content or unique_photo()} for name in names]
    await page.locator("input[type=file]").set_input_files(files)


def item(page: Page, name: str):
    return page.locator("form p", has_text=name)


@pytest.mark.parametrize("react", [19, 18])
async def test_photos_are_uploaded_and_followed(stack, http, open_page, tag, react):
    page = await open_page(stack.url, "Uploading", react, fields={"alt": "A lake"}, tag=tag)
    await choose(page.page, "a.jpg", "b.jpg")
    for name in ("a.jpg", "b.jpg"):
        await expect(item(page.page, name)).to_have_attribute("data-state", "ready", timeout=30_000)
    progress = page.page.locator("progress")
    assert await progress.get_attribute("value") == "1"
    assert await progress.get_attribute("data-sent") == await progress.get_attribute("data-total") != "0"
    await page.page.get_by_role("button", name="Tag").click()
    await choose(page.page, "c.jpg")
    await expect(item(page.page, "c.jpg")).to_have_attribute("data-state", "ready", timeout=30_000)
    images = (await http.get("/api/v1/images", params={"tag": tag, "sort": "createdAt"})).json()
    assert [image["title"] for image in images] == ["From a page"] * 3
    assert [image["alt"] for image in images] == ["A lake"] * 3
    assert images[2]["tags"] == [tag, "second"]
    await item(page.page, "a.jpg").get_by_role("button", name="Remove").click()
    await expect(page.page.locator("form p")).to_have_count(2)
    assert page.problems == []


async def test_a_pause_and_what_follows(stack, open_page, tag):
    """The upload is held on its way, paused there, and resumed."""
    page = await open_page(stack.url, "Uploading", tag=tag)
    held = asyncio.Event()

    async def hold(route):
        held.set()  # and no answer

    await page.page.route("**/api/v1/images", hold)
    await choose(page.page, "a.jpg")
    await asyncio.wait_for(held.wait(), 10)
    one = item(page.page, "a.jpg")
    await expect(one).to_have_attribute("data-state", "uploading")
    await one.get_by_role("button", name="Pause").click()
    await expect(one).to_have_attribute("data-state", "paused")
    await page.page.unroute("**/api/v1/images")
    await one.get_by_role("button", name="Resume").click()
    await expect(one).to_have_attribute("data-state", "ready", timeout=30_000)


async def test_a_failure_and_another_try(stack, open_page, tag):
    page = await open_page(stack.url, "Uploading", options={"retryForMs": 100}, tag=tag)
    await page.page.route("**/api/v1/images", lambda route: route.abort())
    await choose(page.page, "a.jpg")
    one = item(page.page, "a.jpg")
    await expect(one).to_have_attribute("data-error", "unavailable", timeout=15_000)
    await page.page.unroute("**/api/v1/images")
    await one.get_by_role("button", name="Retry").click()
    await expect(one).to_have_attribute("data-state", "ready", timeout=30_000)
    await choose(page.page, "b.jpg", content=b"not a picture")
    await expect(item(page.page, "b.jpg")).to_have_attribute("data-error", "not_a_picture", timeout=15_000)


@pytest.mark.parametrize("react", [19, 18])
async def test_uploads_end_with_their_component(stack, open_page, tag, react):
    """Which is mounted twice in StrictMode; when it is shown again, it uploads again."""
    page = await open_page(stack.url, "Uploading", react, tag=tag)
    ended: asyncio.Queue[str] = asyncio.Queue()
    held = asyncio.Event()

    async def hold(route):
        held.set()

    page.page.on("requestfailed", lambda request: ended.put_nowait(f"{request.method} {request.url}"))
    await page.page.route("**/api/v1/images", hold)
    await choose(page.page, "a.jpg")
    await asyncio.wait_for(held.wait(), 10)
    show = page.page.get_by_role("button", name="Show")
    await show.click()
    assert await asyncio.wait_for(ended.get(), 10) == f"POST {stack.url}/api/v1/images"
    await page.page.unroute("**/api/v1/images")
    await show.click()
    await expect(page.page.locator("form p")).to_have_count(0)
    await choose(page.page, "b.jpg")
    await expect(item(page.page, "b.jpg")).to_have_attribute("data-state", "ready", timeout=30_000)


async def test_a_hidden_component_uploads_when_it_is_shown_again(stack, open_page, tag):
    """React 19 keeps its state meanwhile; its list goes on, too."""
    page = await open_page(stack.url, "Hiding", tag=tag)
    show = page.page.get_by_role("button", name="Show")
    for _ in range(2):
        await show.click()
        await page.page.wait_for_timeout(50)
    await choose(page.page, "a.jpg")
    await expect(item(page.page, "a.jpg")).to_have_attribute("data-state", "ready", timeout=30_000)
    await expect(page.page.locator("main p")).to_have_count(1)
    assert page.count("GET /notifications/stream") == 1, "uploads and lists share it"
    assert page.problems == []


async def test_another_user_begins_anew(environment, open_page):
    """Nothing of the last user is shown or uploaded any more."""
    async with running_application(environment, GALLERY_ACCESS__JWT_SECRET=JWT_SECRET) as (_, client):
        page = await open_page(str(client.base_url), "Users", token=make_token("maya"))
        await choose(page.page, "a.jpg")
        await expect(page.page.locator("main p")).to_have_text(["From a page"], timeout=15_000)
        await page.page.evaluate("(token) => signIn(token)", make_token("ben"))
        await expect(page.page.locator("p")).to_have_count(0)
        await choose(page.page, "b.jpg")
        await expect(page.page.locator("form p")).to_contain_text(["b.jpg"])
        await expect(page.page.locator("main p")).to_have_count(1, timeout=15_000)
        found = await client.get("/api/v1/images", headers=bearer_headers(make_token("ben")))
        assert [image["originalName"] for image in found.json()] == ["b.jpg"]
        assert page.problems == []
