"""The page where credentials are required."""

import re

import httpx
from playwright.async_api import Browser, expect

from conftest import serve_api
from credentials import create_api_key, with_authentication
from factories import fetch_anonymously, post
from gallery.wiring import open_gallery, open_processing
from photos import a_jpeg


async def test_a_visitor_signs_in_with_a_key_and_out_again(browser: Browser, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        _, text = await create_api_key(application, "maya")
        context = await browser.new_context(base_url=url)
        page = await context.new_page()
        violations = []
        page.on("console", lambda m: violations.append(m.text) if "Content Security" in m.text else None)
        await page.goto("/")
        dialog = page.get_by_role("dialog", name="Sign in to Gallery")
        await expect(dialog).to_be_visible(timeout=10_000)

        await dialog.get_by_label("API key or token").fill("gk_wrong")
        await dialog.get_by_role("button", name="Sign in").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("not valid")

        await dialog.get_by_label("API key or token").fill(text)
        await page.keyboard.press("Enter")
        await page.locator("body[data-read]").wait_for()
        await expect(dialog).to_be_hidden()
        assert text not in page.url
        assert "gallery_session" not in await page.evaluate("document.cookie"), "scripts cannot read it"

        file = {"name": "lake.jpg", "mimeType": "image/jpeg", "buffer": a_jpeg()}
        await page.locator(".bar input[type=file]").set_input_files([file])
        await expect(page.locator(".tile[data-id]")).to_be_visible()
        async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": text}) as client:
            assert [image["title"] for image in (await client.get("/api/v1/images")).json()] == ["lake"]

        await page.get_by_role("button", name="Sign out").click()
        await expect(dialog).to_be_visible(timeout=10_000)
        assert violations == []
        await context.close()


async def test_a_page_before_signing_in_sends_no_requests_and_shows_nothing_wrong(open_page, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        visit = await open_page(url)
        urls = []
        visit.page.on("request", lambda request: urls.append(request.url))
        await visit.page.goto("/")
        dialog = visit.page.get_by_role("dialog", name="Sign in to Gallery")
        await expect(dialog).to_be_visible()
        await expect(visit.page.locator("#connection")).to_be_hidden()
        await expect(visit.page.get_by_role("button", name="Sign out", include_hidden=True)).to_be_hidden()
        await expect(visit.page.locator(".bar .upload")).to_be_hidden()
        assert not [url for url in urls if "/api/" in url]
        assert await visit.find_errors() == []
        await dialog.get_by_label("API key or token").fill("gk_wrong")
        await visit.page.keyboard.press("Enter")
        color = await dialog.get_by_role("alert").evaluate("(p) => getComputedStyle(p).color")
        red, green, blue = map(int, re.findall(r"\d+", color))
        assert red > 2 * max(green, blue)


async def test_a_session_that_has_ended_asks_to_sign_in_again(open_page, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        page = (await open_page(url)).page
        await page.context.add_cookies([{"name": "gallery_session", "value": "of another time", "url": url}])
        await page.goto("/")
        await expect(page.get_by_role("dialog", name="Sign in to Gallery")).to_be_visible()
        await expect(page.locator("#connection")).to_be_hidden()


async def test_only_admins_see_the_link_to_the_queue(open_page, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        for owner, scopes, seen in (("ops", ("admin",), True), ("maya", (), False)):
            _, text = await create_api_key(application, owner, *scopes)
            visit = await open_page(url)
            async with httpx.AsyncClient(base_url=url) as client:
                answer = await client.post("/api/v1/session", headers={"X-Api-Key": text})
            await visit.page.context.add_cookies(
                [{"name": "gallery_session", "value": answer.cookies["gallery_session"], "url": url}]
            )
            async with visit.page.expect_response("**/api/v1/session"):
                await visit.page.goto("/")
            await visit.page.locator("body[data-read]").wait_for()
            await expect(visit.page.get_by_role("link", name="Queue")).to_be_visible(visible=seen)
            assert await visit.find_errors() == []


async def test_a_copied_image_link_works_without_credentials_until_it_expires(open_page, settings):
    async with (
        open_gallery(with_authentication(settings)) as application,
        serve_api(application) as url,
        open_processing(application, name="w") as processing,
    ):
        _, text = await create_api_key(application, "maya")
        async with httpx.AsyncClient(base_url=url, headers={"X-Api-Key": text}) as client:
            image = (await post(client)).json()
            await processing.process(image["id"])
            session = (await client.post("/api/v1/session")).cookies["gallery_session"]
        visit = await open_page(url, permissions=["clipboard-read", "clipboard-write"])
        page = visit.page
        await page.context.add_cookies([{"name": "gallery_session", "value": session, "url": url}])
        await page.goto(f"/#{image['id']}")
        await page.get_by_role("button", name="Copy image link").click()
        await expect(page.locator(".message")).to_contain_text("It works without signing in until")
        copied = await page.evaluate("navigator.clipboard.readText()")
        answer = await fetch_anonymously(copied)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        await page.get_by_role("link", name="Copy link").click()
        await expect(page.locator(".message")).to_have_text("The link to this page is copied.")
        assert await page.evaluate("navigator.clipboard.readText()") == f"{url}/#{image['id']}"
        assert await visit.find_errors() == []
