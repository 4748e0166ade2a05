"""The page where credentials are required."""

import httpx
from playwright.async_api import Browser, expect

from conftest import served
from doors import a_key, closed
from gallery.wiring import open_gallery
from photos import a_jpeg


async def test_a_visitor_signs_in_with_a_key_and_out_again(browser: Browser, settings):
    async with open_gallery(closed(settings)) as house, served(house) as url:
        _, text = await a_key(house, "maya")
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
