"""The operators' page in a real browser, by keyboard, on a real queue."""

import re

import httpx
import pytest
from playwright.async_api import expect

from conftest import serve_api
from credentials import create_api_key, with_authentication
from failed_work import fail_images, fail_jobs
from gallery.web.queues import format_duration
from gallery.wiring import open_gallery


async def test_an_operator_finds_out_why_and_tries_again_by_keyboard_alone(open_page, gallery, processing, settings):
    await fail_jobs(gallery, settings)
    first, second, third = await fail_images(gallery, processing, "Ferry", "<b>Lake</b>", "Tower")
    async with serve_api(gallery) as url:
        visit = await open_page(url)
        page = visit.page
        await page.goto("/admin/queues")
        await expect(page.get_by_role("heading", name="Failed 3")).to_be_visible()
        await expect(page.locator("#row-" + second)).to_contain_text("<b>Lake</b>")  # as it was written

        await page.locator("#row-" + third).focus()
        await page.keyboard.press("ArrowDown")
        await expect(page.locator("#row-" + second)).to_be_focused()
        await page.keyboard.press("Enter")
        why = page.locator("#failed-" + second)
        await expect(why).to_contain_text("The picture is damaged or incomplete")
        await expect(why.locator(".timeline")).to_contain_text(re.compile("uploaded.*processing.*failed", re.DOTALL))

        await page.keyboard.press("r")
        await expect(page.get_by_role("status")).to_have_text("Queued for another attempt.")
        await expect(page.locator(".message")).to_have_text("Queued for another attempt.")
        await expect(page.get_by_role("heading", name="Failed 2")).to_be_visible()
        await expect(page.locator("#row-" + first)).to_be_focused()  # the next one: the walk goes on
        await page.keyboard.press("d")
        await expect(page.get_by_role("heading", name="Failed 1")).to_be_visible()
        await expect(page.get_by_label("Interactive")).to_contain_text("1 waiting")
        statuses = {image: (await gallery.image_details.get(image)).status for image in (first, second, third)}
        assert statuses == {first: "FAILED", second: "PENDING", third: "FAILED"}

        bug = page.locator("#live-bugs")
        await bug.locator("summary").focus()
        await page.keyboard.press("Enter")
        await expect(bug.locator("pre")).to_contain_text("ZeroDivisionError")
        await page.keyboard.press("Tab")  # into the stack, which scrolls
        await expect(bug.locator("pre")).to_be_focused()
        await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("d")
        await expect(bug.locator("h2")).to_have_count(0)
        assert await visit.find_errors() == []


async def test_a_pause_is_shown_and_open_details_stay_open(open_page, gallery, processing):
    (image,) = await fail_images(gallery, processing, "Ferry")
    async with serve_api(gallery) as url:
        visit = await open_page(url, color_scheme="dark")
        page = visit.page
        await page.goto("/admin/queues")
        await page.locator("#row-" + image).press("Enter")
        await page.get_by_role("button", name="Pause").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("note")).to_contain_text("Paused for")
        await expect(page.get_by_role("button", name="Resume")).to_be_focused()
        assert (await gallery.console.state()).paused_since
        refreshed = int(await page.locator("body").get_attribute("data-refreshed"))
        await expect(page.locator("body")).to_have_attribute("data-refreshed", str(refreshed + 1), timeout=15_000)
        await expect(page.locator("#failed-" + image)).to_have_attribute("open", "")

        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Pause")).to_be_focused()
        assert (await gallery.console.state()).paused_since is None
        assert await visit.find_errors() == []


async def test_only_an_operator_can_sign_in_to_the_queue(open_page, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        _, admin = await create_api_key(application, "ops", "admin")
        _, maya = await create_api_key(application, "maya")
        page = (await open_page(url)).page
        await page.goto("/admin/queues")
        await page.get_by_label("API key or token").fill(admin)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Workers 0")).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_role("button", name="Resume")).to_be_visible()  # by the cookie, from our own page
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key or token")).to_be_visible()
        await page.get_by_label("API key or token").fill(maya)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("with the scope admin")).to_be_visible()


async def test_a_program_gets_json_and_a_browser_a_page_in_which_nothing_inline_runs(gallery):
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url) as client:
        program = await client.get("/admin/queues", headers={"Accept": "application/json"})
        assert program.json()["lanes"] == (await client.get("/admin/queues/state")).json()["lanes"]
        assert "Accept" in program.headers["vary"]
        page = await client.get("/admin/queues", headers={"Accept": "text/html"})
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)
        refused = await client.get("/admin/queues?cursor=x")
        assert refused.status_code == 422


async def test_an_anonymous_browser_gets_the_sign_in_page(settings):
    async with (
        open_gallery(with_authentication(settings)) as application,
        serve_api(application) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        person = await client.get("/admin/queues", headers={"Accept": "text/html"})
        assert (person.status_code, person.headers["content-type"].partition(";")[0]) == (401, "text/html")
        program = await client.get("/admin/queues", headers={"Accept": "application/json"})
        assert (program.status_code, program.json()["code"]) == (401, "credentials_required")


async def test_the_short_words_of_the_page_explain_themselves(open_page, gallery, processing):
    await fail_images(gallery, processing, "Ferry")
    async with serve_api(gallery) as url:
        page = (await open_page(url)).page
        await page.goto("/admin")
        await expect(page).to_have_url(f"{url}/admin/queues")
        for word, title in (("Later", "are due later"), ("Jobs", "Jobs in the queue")):
            tip = page.get_by_label("Interactive").locator("[title]", has_text=word)
            await expect(tip).to_have_attribute("title", re.compile(title))
        for button in await page.get_by_role("button", name="Drop").all():
            assert "is not deleted" in (await button.get_attribute("title") or "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7290, "2 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds, text):
    assert format_duration(seconds) == text
