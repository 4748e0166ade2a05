"""`useImages` and `useImage` in a browser, beside other clients of the same Gallery."""

import asyncio
import uuid

import httpx
import pytest
from playwright.async_api import Page, expect

import gallery_processes
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import post, wait_until_settled
from gallery.wiring import open_processing
from image_rows import insert_images
from kit_only import kit_only
from photos import distinct_photos


async def titles(page: Page) -> list[str]:
    return [text.strip() for text in await page.locator("main p").all_inner_texts()]


async def expect_titles(page: Page, *wanted: str) -> None:
    await expect(page.locator("main p")).to_have_text(list(wanted), timeout=15_000)


async def expect_read(page: Page) -> None:
    await expect(page.locator("main[data-loading=false]")).to_be_attached(timeout=15_000)


async def upload(http: httpx.AsyncClient, title: str, tag: str) -> str:
    answer = await post(http, title=title, tags=tag)
    assert answer.status_code == 201
    return str(answer.json()["id"])


@pytest.mark.parametrize("react", [19, 18])
async def test_changes_of_other_clients_come_in_at_their_place(stack, http, open_page, tag, react):
    first = await upload(http, "First", tag)
    tabs = [await open_page(stack.url, "List", react, filter={"tags": [tag]}) for _ in range(2)]
    assert await tabs[0].page.evaluate("reactVersion.split('.')[0]") == str(react)
    for tab in tabs:
        await expect_titles(tab.page, "First")
    second = await upload(http, "Second", tag)
    await upload(http, "Of another tag", f"{tag}-other")
    third = await upload(http, "Third", tag)
    for tab in tabs:
        await expect_titles(tab.page, "Third", "Second", "First")
        await expect(tab.page.locator(f"[id='{third}'][data-status=READY]")).to_be_attached(timeout=30_000)
    await http.patch(f"/api/v1/images/{second}", json={"title": "Changed"})
    for tab in tabs:
        await expect_titles(tab.page, "Third", "Changed", "First")
    await http.patch(f"/api/v1/images/{third}", json={"tags": []})
    for tab in tabs:
        await expect_titles(tab.page, "Changed", "First")
    await http.delete(f"/api/v1/images/{first}")
    await http.patch(f"/api/v1/images/{third}", json={"tags": [tag]})
    for tab in tabs:
        await expect_titles(tab.page, "Third", "Changed")
        assert tab.problems == []
        assert tab.count("GET /notifications/stream") == 1


async def test_a_status_an_order_and_a_search(stack, http, open_page, tag):
    """The search is done by the server again, after each change."""
    ready = await open_page(stack.url, "List", filter={"tags": [tag], "status": "READY", "sort": "createdAt"})
    search = await open_page(stack.url, "List", filter={"tags": [tag], "search": "meadow", "sort": "title"})
    await expect_read(ready.page)
    await expect_read(search.page)
    for title in ("Meadow B", "Forest", "Meadow A"):
        await wait_until_settled(http, image := await upload(http, title, tag))
    await expect_titles(ready.page, "Meadow B", "Forest", "Meadow A")
    await expect_titles(search.page, "Meadow A", "Meadow B")
    await http.patch(f"/api/v1/images/{image}", json={"title": "Meadow C"})
    await expect_titles(search.page, "Meadow B", "Meadow C")
    await http.delete(f"/api/v1/images/{image}")
    await expect_titles(search.page, "Meadow B")


async def test_hooks_share_one_stream(stack, http, open_page, tag):
    image = await upload(http, "Lake", tag)
    page = await open_page(stack.url, "Several", filter={"tags": [tag]}, id=image)
    await expect(page.page.locator("output")).to_have_text("Lake READY", timeout=30_000)
    show = page.page.get_by_role("button", name="Show")
    await show.click()
    await expect(page.page.locator("output")).to_have_count(0)
    await show.click()
    await http.patch(f"/api/v1/images/{image}", json={"title": "Forest"})
    await expect(page.page.locator("output")).to_have_text("Forest READY", timeout=15_000)
    await expect_titles(page.page, "Forest")
    assert page.count("GET /notifications/stream") == 1, page.requests
    await show.click()
    closed = asyncio.get_running_loop().create_future()
    page.page.on("requestfailed", lambda request: closed.done() or closed.set_result(request.url))
    assert "/notifications/stream" in await asyncio.wait_for(closed, 5)
    await show.click()
    await expect(page.page.locator("output")).to_have_text("Forest READY", timeout=15_000)
    await http.delete(f"/api/v1/images/{image}")
    await expect(page.page.locator("output")).to_have_text("nothing")
    assert page.problems == []


async def test_an_image_that_is_not_there(stack, open_page):
    page = await open_page(stack.url, "Single", id=str(uuid.uuid4()))
    await expect(page.page.locator("output[data-error=image_not_found][data-loading=false]")).to_have_text("nothing")


async def test_many_changes_are_read_together(stack, http, open_page, tag):
    page = await open_page(stack.url, "List", filter={"tags": [tag]})
    await expect_read(page.page)
    before = page.count("GET /images?")
    photos = distinct_photos(40, 48, 32)
    await asyncio.gather(*(post(http, photo + tag.encode(), tags=tag) for photo in photos))
    await expect(page.page.locator("main p[data-status=READY]")).to_have_count(40, timeout=60_000)
    reads = page.count("GET /images?") - before
    assert reads == page.count("GET /images?ids=")
    assert reads <= 20, "120 events in some seconds"


async def test_pages_of_200_images(environment, open_page):
    async with running_application(environment) as (gallery, client):
        ids = await insert_images(gallery, *(f"Photo {number}" for number in range(200)))
        page = await open_page(str(client.base_url), "List", filter={"limit": 60})
        shown = page.page.locator("main p")
        for count in (60, 120, 180, 200):
            await expect(shown).to_have_count(count, timeout=15_000)
            await page.page.evaluate("more()")
        assert await page.page.locator("main").get_attribute("data-more") == "false"
        newer = (await post(client, title="Newer")).json()["id"]
        await expect(shown).to_have_count(201, timeout=15_000)
        await client.delete(f"/api/v1/images/{ids[100]}")
        await expect(shown).to_have_count(200)
        assert await titles(page.page) == ["Newer", *(f"Photo {n}" for n in range(199, -1, -1) if n != 100)]
        before = page.count("GET /images?")
        await page.page.evaluate("refresh()")
        await expect_read(page.page)
        assert page.count("GET /images?") - before == 4, "all pages that were shown"
        assert await shown.first.get_attribute("id") == newer


async def test_an_image_of_a_later_page_waits_for_it(environment, open_page):
    async with running_application(environment) as (gallery, client):
        ids = await insert_images(gallery, *"ABCDEFGH")
        page = await open_page(str(client.base_url), "List", filter={"limit": 3})
        await expect_titles(page.page, "H", "G", "F")
        await client.delete(f"/api/v1/images/{ids[5]}")
        await client.patch(f"/api/v1/images/{ids[1]}", json={"title": "B, changed"})
        await client.patch(f"/api/v1/images/{ids[6]}", json={"title": "G, changed"})
        await expect_titles(page.page, "H", "G, changed")
        await page.page.evaluate("more()")
        await expect_titles(page.page, "H", "G, changed", "E", "D", "C")
        await page.page.evaluate("more()")
        await expect_titles(page.page, "H", "G, changed", "E", "D", "C", "B, changed", "A")


async def test_another_filter_ends_the_reads_of_the_last_one(stack, http, open_page, tag):
    for name in ("a", "b"):
        await upload(http, name, f"{tag}-{name}")
    page = await open_page(stack.url, "List", filter={"tags": [f"{tag}-b"]})
    await expect_titles(page.page, "b")
    held = asyncio.Event()
    failed: list[str] = []

    async def hold(route):
        held.set()
        await asyncio.sleep(1)
        await route.continue_()

    page.page.on("requestfailed", lambda request: failed.append(request.url))
    await page.page.route(f"**/images?*{tag}-a*", hold)
    await page.page.evaluate(f"setFilter({{ tags: ['{tag}-a'] }})")
    await asyncio.wait_for(held.wait(), 10)
    await expect(page.page.locator("main[data-loading=true]")).to_have_text("b")  # until there is more to show
    await page.page.evaluate(f"setFilter({{ tags: ['{tag}-b'] }})")
    await expect_titles(page.page, "b")
    await asyncio.sleep(1.2)
    assert await titles(page.page) == ["b"]
    assert [f"{tag}-a" in url for url in failed] == [True]


async def test_the_first_page_of_a_server_is_not_that_of_another_filter(stack, http, open_page, tag):
    await wait_until_settled(http, await upload(http, "a", f"{tag}-a"))
    given = (await http.get("/api/v1/images", params={"tag": f"{tag}-a"})).json()
    initial = {"images": given, "cursor": None}
    page = await open_page(stack.url, "List", filter={"tags": [f"{tag}-a"]}, initial=initial)
    await expect_titles(page.page, "a")
    held = asyncio.Event()

    async def hold(route):
        held.set()
        await asyncio.sleep(1)
        await route.continue_()

    await page.page.route(f"**/images?*{tag}-none*", hold)
    await page.page.evaluate(f"setFilter({{ tags: ['{tag}-none'] }})")
    await asyncio.wait_for(held.wait(), 10)
    await expect(page.page.locator("main[data-loading=true]")).to_be_attached()
    await expect_titles(page.page)


async def test_a_late_answer_does_not_replace_a_newer_one(stack, http, open_page, tag):
    """The first page is held on its way; meanwhile its images are changed and deleted."""
    kept, deleted = await upload(http, "Old", tag), await upload(http, "Deleted", tag)
    await asyncio.gather(*(wait_until_settled(http, image) for image in (kept, deleted)))
    page = await open_page(stack.url, "List", filter={"tags": ["none"]})
    await expect_read(page.page)
    held, release = asyncio.Event(), asyncio.Event()

    async def hold(route):
        answer = await route.fetch()
        held.set()
        await release.wait()
        await route.fulfill(response=answer)

    await page.page.route(f"**/images?*tag={tag}*", hold)
    await page.page.evaluate(f"setFilter({{ tags: ['{tag}'] }})")
    await asyncio.wait_for(held.wait(), 10)
    await http.patch(f"/api/v1/images/{kept}", json={"title": "New"})
    await http.delete(f"/api/v1/images/{deleted}")
    await asyncio.sleep(0.5)  # the events are told
    release.set()
    await expect_titles(page.page, "New")


async def test_an_older_version_does_not_replace_a_newer_one(stack, http, open_page, tag):
    image = await upload(http, "Old", tag)
    old = await wait_until_settled(http, image)
    await http.patch(f"/api/v1/images/{image}", json={"title": "New"})
    page = await open_page(stack.url, "List", filter={"tags": [tag]})
    await expect_titles(page.page, "New")
    answered = asyncio.Event()

    async def answer(route):
        await route.fulfill(json=[old])
        answered.set()

    await page.page.route("**/images?*ids=*", answer)
    await http.patch(f"/api/v1/images/{image}", json={"title": "Newer"})
    await asyncio.wait_for(answered.wait(), 10)
    await asyncio.sleep(0.2)
    assert await titles(page.page) == ["New"]
    await page.page.unroute("**/images?*ids=*")
    await http.patch(f"/api/v1/images/{image}", json={"title": "Newest"})
    await expect_titles(page.page, "Newest")


@kit_only
async def test_nothing_is_lost_while_the_api_is_away(environment, tmp_path, open_page):
    """What other clients change meanwhile, by another process of the API, is told when it is back."""
    port = gallery_processes.free_port()
    async with (
        gallery_processes.api(environment, tmp_path / "other") as other,
        httpx.AsyncClient(base_url=other.url, timeout=20) as http,
    ):
        for title in ("A", "B"):
            await post(http, title=title)
        async with gallery_processes.api(environment, tmp_path / "first", PORT=str(port)) as first:
            page = await open_page(first.url, "List", filter={"limit": 50})
            await expect_titles(page.page, "B", "A")
        image, gone = (found["id"] for found in (await http.get("/api/v1/images")).json())
        await http.patch(f"/api/v1/images/{image}", json={"title": "B, changed"})
        await http.delete(f"/api/v1/images/{gone}")
        await post(http, title="C")
        async with gallery_processes.api(environment, tmp_path / "second", PORT=str(port)):
            await expect_titles(page.page, "C", "B, changed")
        assert page.count("GET /images?limit") == 1, "what was missed is read by itself"


async def test_a_list_without_a_stream(stack, http, open_page, tag):
    """It is shown all the same, and is live as soon as there is a stream."""
    first = await upload(http, "First", tag)
    await wait_until_settled(http, first)
    refused = 0

    async def refuse(route):
        nonlocal refused
        refused += 1
        await route.fulfill(status=503, headers={"Retry-After": "1"}, json={})

    async def prepare(page):
        await page.route("**/notifications/stream*", refuse)

    page = await open_page(stack.url, "List", filter={"tags": [tag]}, prepare=prepare)
    await expect_titles(page.page, "First")
    await upload(http, "Second", tag)
    assert refused > 0
    assert await titles(page.page) == ["First"]
    await page.page.unroute("**/notifications/stream*")
    await expect_titles(page.page, "Second", "First")


async def test_a_failed_read_is_told_and_done_again(stack, http, open_page, tag):
    await upload(http, "First", tag)

    async def prepare(page):
        await page.route("**/images?*", lambda route: route.abort())

    options = {"retryForMs": 100}
    page = await open_page(stack.url, "List", filter={"tags": [tag]}, options=options, prepare=prepare)
    await expect(page.page.locator("main[data-error=unavailable][data-loading=false]")).to_be_attached(timeout=15_000)
    await page.page.unroute("**/images?*")
    await upload(http, "Second", tag)
    await expect_titles(page.page, "Second", "First")
    await expect(page.page.locator("main[data-error]")).to_have_count(0)


async def test_signed_urls_are_renewed(environment, open_page):
    """Private images are shown as long as the page is open."""
    settings = {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_ACCESS__LINK_WINDOW": "2"}
    token = make_token("maya")
    async with running_application(environment, **settings) as (gallery, client):
        client.headers.update(bearer_headers(token))
        image = (await post(client, title="Private")).json()["id"]
        async with open_processing(gallery, name="worker") as processing:
            await processing.process(image)
        page = await open_page(str(client.base_url), "List", filter={"signed": True}, options={"auth": token})
        refused: list[str] = []
        page.page.on("response", lambda answer: answer.status >= 400 and refused.append(answer.url))
        img = page.page.locator("main img")
        seen = set()
        async with asyncio.timeout(20):
            while len(seen) < 2:
                seen.add(await img.evaluate("(img) => img.naturalWidth && img.currentSrc") or None)
                seen.discard(None)
                await asyncio.sleep(0.1)
        assert all("sig=" in url for url in seen)
        assert refused == []
