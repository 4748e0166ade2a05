"""Large files on the page: sent by tus in slices, with pause and resume, over lost connections and reloads."""

import asyncio
import os
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.async_api import CDPSession, Locator, Page, Request, Response, Route, expect

import tus_requests
from conftest import running_application
from gallery.wiring import Gallery
from page_actions import Visit, a_photo, drop, refuse_requests, tile, unique_name

MIB = 1024 * 1024
SIZE = 20 * MIB
LIMIT = 48 * MIB
SLOW = 4 * MIB  # bytes a second
ARRIVED = re.compile("waiting|rendering|ready")
PERCENT = re.compile(r"[1-9]\d* %")


def large_photo(name: str, size: int = SIZE) -> bytes:
    """A picture with bytes after its end, which decoders ignore."""
    picture = a_photo(name)
    return picture + random.Random(name).randbytes(size - len(picture))


@dataclass
class Ledger:
    """The requests of resumable uploads that a page has sent, and what the server has acknowledged."""

    begun: int = 0
    offsets: list[int] = field(default_factory=list)  # of PATCH
    acknowledged: list[int] = field(default_factory=list)
    cancelled: int = 0

    def watch(self, page: Page) -> "Ledger":
        page.on("request", self._sent)
        page.on("response", self._answered)
        return self

    def _sent(self, request: Request) -> None:
        if "/api/v1/uploads" not in request.url:
            return
        self.begun += request.method == "POST"
        self.cancelled += request.method == "DELETE"
        if request.method == "PATCH":
            self.offsets.append(int(request.headers["upload-offset"]))

    def _answered(self, response: Response) -> None:
        if "/api/v1/uploads" in response.url and "upload-offset" in response.headers:
            self.acknowledged.append(int(response.headers["upload-offset"]))

    def assert_nothing_sent_twice(self) -> None:
        assert self.acknowledged == sorted(self.acknowledged)
        assert self.offsets == sorted(self.offsets)
        assert set(self.offsets) <= set(self.acknowledged), "each request begins where the server is"


@dataclass
class Large:
    """The page of a gallery that takes large files."""

    visit: Visit
    client: httpx.AsyncClient
    gallery: Gallery
    ledger: Ledger
    devtools: CDPSession | None = None

    @property
    def page(self) -> Page:
        return self.visit.page

    async def load(self) -> None:
        await self.page.goto("/")
        await self.page.locator("body[data-read]").wait_for()

    async def slow(self, bytes_a_second: int = SLOW, offline: bool = False) -> None:
        self.devtools = self.devtools or await self.page.context.new_cdp_session(self.page)
        limits = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
        await self.devtools.send("Network.emulateNetworkConditions", limits)

    async def expect_arrived(self, file: Path) -> None:
        """The image has the bytes of the file."""
        await expect(tile(self.page, file.stem)).to_have_attribute("data-state", ARRIVED, timeout=40_000)
        image = await tile(self.page, file.stem).get_attribute("data-id")
        assert (await self.client.get(f"/api/v1/images/{image}/original")).content == file.read_bytes()

    async def let_go(self) -> None:
        """Until no request has an upload: the server notices a broken connection a moment later."""
        async with asyncio.timeout(20):
            while await self.uploads("holder IS NOT NULL"):
                await asyncio.sleep(0.05)

    async def uploads(self, where: str = "true") -> int:
        """How many unfinished ones the server has."""
        async with self.gallery.database.primary() as db:
            return await db.fetchval(f"SELECT count(*) FROM upload WHERE ended_at IS NULL AND {where}")


@pytest.fixture
async def large(environment, open_page):
    async with running_application(environment, GALLERY_UPLOAD__MAX_BYTES=str(LIMIT)) as (gallery, client):
        visit = await open_page(str(client.base_url).rstrip("/"))
        large = Large(visit, client, gallery, Ledger().watch(visit.page))
        await large.load()
        yield large


@pytest.fixture
def photo_file(tmp_path):
    """A large picture in a file, which has a time."""
    file = tmp_path / f"{unique_name('Poster')}.jpg"
    file.write_bytes(large_photo(file.stem))
    return file


async def choose(page: Page, *paths: Path) -> None:
    await page.locator(".bar input[type=file]").set_input_files(list(paths))


async def begin(large: Large, file: Path) -> Locator:
    """The tile of an upload of which some is sent, over a slow network."""
    await large.slow()
    await choose(large.page, file)
    sending = tile(large.page, file.name)
    await expect(sending.locator(".word")).to_have_text(PERCENT)
    return sending


async def leave_unfinished(large: Large, file: Path) -> Locator:
    """The tile of an upload that was under way when the page was loaded again."""
    await begin(large, file)
    async with asyncio.timeout(30):
        while not any(large.ledger.acknowledged):
            await asyncio.sleep(0.05)
    await large.load()
    await large.let_go()
    await large.load()  # now the server has noticed
    return tile(large.page, file.name)


async def test_a_large_file_is_sent_in_slices(large, photo_file):
    await choose(large.page, photo_file)
    await large.expect_arrived(photo_file)
    assert large.ledger.offsets == [0, 16 * MIB]
    assert large.ledger.acknowledged == [0, 16 * MIB, SIZE]
    assert await large.page.evaluate("Object.keys(localStorage)") == []
    assert await large.visit.find_errors() == []


async def test_a_pause_costs_no_byte_that_has_arrived(large, photo_file):
    sending = await begin(large, photo_file)
    message = large.page.locator(".message p")
    await expect(message).to_have_text(
        re.compile(r"^0 of 1 uploaded · [\d.]+ [kM]B of 21 MB( · less than a minute left)?$")
    )
    await sending.get_by_role("button", name=f"Pause upload of {photo_file.name}").click()
    await expect(sending.locator(".word")).to_have_text("Paused")
    await expect(message).to_have_text(re.compile("^Paused · 0 of 1 uploaded"))
    await large.let_go()
    requests = len(large.ledger.offsets)
    await asyncio.sleep(1)
    assert len(large.ledger.offsets) == requests
    await sending.get_by_role("button", name=f"Resume upload of {photo_file.name}").click()
    await large.expect_arrived(photo_file)
    large.ledger.assert_nothing_sent_twice()
    assert large.ledger.begun == 1
    assert 0 < large.ledger.offsets[1] < SIZE
    assert await large.visit.find_errors() == []


async def test_a_lost_connection_is_waited_for_and_the_upload_goes_on(large, photo_file):
    sending = await begin(large, photo_file)
    await large.slow(offline=True)
    await expect(sending.locator(".word")).to_have_text("Waiting for the server")
    message = large.page.locator(".message", has_text="Gallery cannot be reached. 1 upload waits for the server")
    await expect(message).to_be_visible()
    await large.let_go()
    await large.slow()  # and the page hears that the browser is online
    await large.expect_arrived(photo_file)
    large.ledger.assert_nothing_sent_twice()
    assert large.ledger.begun == 1
    assert large.ledger.offsets[1] > 0
    await expect(large.page.locator("#connection")).to_have_text("Live")


async def test_a_connection_that_is_dead_without_a_word_is_given_up_after_a_minute(large, photo_file):
    await large.page.clock.install()
    await large.page.route("**/api/v1/uploads/*", lambda route: None, times=1)  # nothing is sent, and nothing fails
    await choose(large.page, photo_file)
    async with asyncio.timeout(20):
        while not large.ledger.offsets:
            await asyncio.sleep(0.05)
    await large.page.clock.run_for(58_000)
    await expect(tile(large.page, photo_file.name)).to_have_attribute("data-state", "uploading")
    await large.page.clock.run_for(4_000)
    await large.expect_arrived(photo_file)
    assert large.ledger.offsets == [0, 0, 16 * MIB]


async def test_nothing_waits_any_longer_once_the_browser_is_online_again(large, photo_file):
    await refuse_requests(large.page, "**/api/v1/uploads", times=1, retry_after=60)
    await choose(large.page, photo_file)
    await expect(large.page.locator(".message", has_text="1 upload waits for the server")).to_be_visible()
    await large.page.evaluate("dispatchEvent(new Event('online'))")
    await large.expect_arrived(photo_file)


async def test_an_earlier_request_that_still_has_the_upload_is_waited_for(large, photo_file):
    sending = await begin(large, photo_file)
    await sending.get_by_role("button", name=f"Pause upload of {photo_file.name}").click()
    await large.let_go()
    async with large.gallery.database.primary() as db:
        await db.execute("UPDATE upload SET holder = gen_random_uuid(), held_until = now() + interval '4 seconds'")
    await sending.get_by_role("button", name=f"Resume upload of {photo_file.name}").click()
    await large.expect_arrived(photo_file)
    assert {status for status, _ in large.visit.failed_responses} == {423}
    assert large.ledger.begun == 1
    await expect(large.page.locator("#connection")).to_have_text("Live")


async def test_an_upload_that_is_further_than_the_page_knows_goes_on_from_there(large, photo_file):
    """Another tab, or the last request, has sent more."""
    content = photo_file.read_bytes()

    async def send_by_another(route: Route) -> None:
        await tus_requests.patch(large.client, httpx.URL(route.request.url).path, 0, content[: 9 * MIB])
        await route.continue_()

    await large.page.route("**/api/v1/uploads/*", send_by_another, times=1)
    await choose(large.page, photo_file)
    await large.expect_arrived(photo_file)
    assert large.ledger.offsets == [0, 9 * MIB, 16 * MIB]
    assert [status for status, _ in large.visit.failed_responses] in ([409], [])


async def test_a_lost_answer_to_the_last_byte_makes_one_image(large, photo_file):
    async def lose_the_answer(route: Route) -> None:
        if route.request.headers.get("upload-offset") != str(16 * MIB):
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    await large.page.route("**/api/v1/uploads/*", lose_the_answer)
    await choose(large.page, photo_file)
    message = large.page.locator(".message", has_text="Gallery cannot be reached.")
    await message.get_by_role("button", name="Try now").click()
    await large.expect_arrived(photo_file)
    assert large.ledger.offsets == [0, 16 * MIB]
    assert len((await large.client.get("/api/v1/images")).json()) == 1


async def test_after_a_reload_the_upload_goes_on_with_the_same_file(large, photo_file):
    unfinished = await leave_unfinished(large, photo_file)
    await expect(unfinished.locator(".sentence")).to_have_text(re.compile(r"^[1-9]\d? % uploaded$"))
    await expect(large.page.locator(".message p")).to_have_text("1 upload waits for its file.")
    async with large.page.expect_file_chooser() as chooser:
        await unfinished.get_by_role("button", name=f"Choose {photo_file.name} again").click()
    await (await chooser.value).set_files(photo_file)
    await large.expect_arrived(photo_file)
    await expect(large.page.locator(".tile")).to_have_count(1)
    large.ledger.assert_nothing_sent_twice()
    assert large.ledger.begun == 1
    assert await large.page.evaluate("Object.keys(localStorage)") == []
    assert await large.visit.find_errors() == []


async def test_over_plain_http_where_browsers_have_no_hashes_and_no_locks(large, photo_file):
    await large.page.add_init_script("""
        Object.defineProperty(Crypto.prototype, "subtle", { value: undefined });
        Object.defineProperty(Navigator.prototype, "locks", { value: undefined });
    """)
    await large.load()
    unfinished = await leave_unfinished(large, photo_file)
    await expect(unfinished).to_have_attribute("data-state", "unfinished")
    await choose(large.page, photo_file)
    await large.expect_arrived(photo_file)
    large.ledger.assert_nothing_sent_twice()
    assert large.ledger.begun == 1
    assert await large.visit.find_errors() == []


async def test_a_file_that_is_dropped_again_goes_on_and_another_one_begins_anew(large, photo_file):
    unfinished = await leave_unfinished(large, photo_file)
    other = photo_file.with_name("other.jpg")
    other.write_bytes(large_photo("other"))
    async with large.page.expect_file_chooser() as chooser:
        await unfinished.get_by_role("button", name=f"Choose {photo_file.name} again").click()
    await (await chooser.value).set_files(other)
    await expect(large.page.locator(".message.warning")).to_have_text(
        "other.jpg is not the file whose upload has begun."
    )
    assert large.ledger.begun == 1
    await drop(large.page, photo_file, other)
    await large.expect_arrived(photo_file)
    await large.expect_arrived(other)
    assert large.ledger.begun == 2
    assert await large.visit.find_errors() == []


async def test_a_file_of_the_same_name_size_and_time_with_other_bytes_begins_anew(large, photo_file):
    before = photo_file.stat()
    await leave_unfinished(large, photo_file)
    photo_file.write_bytes(large_photo("something else"))
    os.utime(photo_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    await choose(large.page, photo_file)
    await large.expect_arrived(photo_file)
    assert large.ledger.begun == 2


async def test_an_unfinished_upload_can_be_forgotten(large, photo_file):
    unfinished = await leave_unfinished(large, photo_file)
    async with large.page.expect_response(lambda response: response.request.method == "DELETE") as answer:
        await unfinished.get_by_role("button", name=f"Forget the upload of {photo_file.name}").click()
    assert (await answer.value).status == 204
    await expect(unfinished).to_have_count(0)
    await expect(large.page.locator(".message")).to_have_count(0)
    await large.load()
    await expect(large.page.locator(".tile")).to_have_count(0)
    assert await large.visit.find_errors() == []


async def test_an_upload_that_the_server_has_forgotten_disappears(large, photo_file):
    await leave_unfinished(large, photo_file)
    [upload] = await large.page.evaluate("Object.values(localStorage).map((text) => JSON.parse(text).url)")
    await large.client.delete(upload)
    await large.load()
    await large.page.wait_for_function("Object.keys(localStorage).length === 0")
    await expect(large.page.locator(".tile")).to_have_count(0)


async def test_an_upload_that_has_ended_meanwhile_disappears(large, photo_file):
    await leave_unfinished(large, photo_file)
    [upload] = await large.page.evaluate("Object.values(localStorage).map((text) => JSON.parse(text).url)")
    received = (await large.client.get(upload)).json()["received"]
    await tus_requests.patch(large.client, upload, received, photo_file.read_bytes()[received:])
    await large.load()
    await large.page.wait_for_function("Object.keys(localStorage).length === 0")
    await large.expect_arrived(photo_file)
    await expect(large.page.locator(".tile")).to_have_count(1)
    assert await large.visit.find_errors() == []


async def test_a_refusal_whose_answer_was_lost_is_shown_after_a_reload(large, tmp_path):
    async def lose_the_answer(route: Route) -> None:
        await route.fetch()
        await route.abort()

    noise = tmp_path / f"{unique_name('Noise')}.jpg"
    noise.write_bytes(random.Random(1).randbytes(9 * MIB))
    await large.page.route("**/api/v1/uploads/*", lose_the_answer, times=1)
    await choose(large.page, noise)
    await expect(large.page.locator(".message", has_text="Gallery cannot be reached.")).to_be_visible()
    await large.load()
    await expect(large.page.locator(".message.warning")).to_contain_text(f"{noise.name}: ")
    await expect(large.page.locator(".message.warning")).to_contain_text("not a supported picture")
    await expect(large.page.locator(".tile")).to_have_count(0)
    assert await large.page.evaluate("Object.keys(localStorage)") == []


async def test_an_upload_of_another_tab_is_left_alone(large, photo_file):
    await begin(large, photo_file)
    other = await large.page.context.new_page()
    await other.goto("/")
    await other.locator("body[data-read]").wait_for()
    await asyncio.sleep(1)
    await expect(other.locator(".tile[data-state=unfinished]")).to_have_count(0)
    await large.expect_arrived(photo_file)
    await other.close()


async def test_a_cancelled_upload_is_removed_from_the_server(large, photo_file):
    sending = await begin(large, photo_file)
    await sending.get_by_role("button", name=f"Cancel upload of {photo_file.name}").click()
    await expect(sending).to_have_count(0)
    async with asyncio.timeout(20):
        while await large.uploads():
            await asyncio.sleep(0.05)
    assert await large.page.evaluate("Object.keys(localStorage)") == []
    assert await large.visit.find_errors() == []


async def test_a_large_file_that_is_no_picture_is_refused_at_its_beginning(large, tmp_path):
    noise = tmp_path / f"{unique_name('Noise')}.jpg"
    noise.write_bytes(random.Random(1).randbytes(3 * 16 * MIB - 1))
    await choose(large.page, noise)
    refused = tile(large.page, noise.name)
    await expect(refused.locator(".sentence")).to_contain_text("not a supported picture", timeout=20_000)
    await expect(refused.locator(".again")).to_be_hidden()
    await expect(refused.locator(".pause")).to_be_hidden()
    assert large.ledger.offsets == [0], "the rest is not sent"
    assert await large.page.evaluate("Object.keys(localStorage)") == []


async def test_the_limit_is_said_before_anything_is_sent(large, tmp_path):
    huge = tmp_path / f"{unique_name('Huge')}.jpg"
    huge.write_bytes(bytes(LIMIT + 1))
    await choose(large.page, huge)
    await expect(tile(large.page, huge.name).locator(".sentence")).to_have_text(
        "The file is larger than 48 MiB, which is the limit."
    )
    assert large.ledger.begun == 0
    assert await large.visit.find_errors() == []


async def test_leaving_asks_only_while_bytes_are_sent(large, photo_file):
    prevented = """() => {
        const leaving = new Event("beforeunload", { cancelable: true });
        return !dispatchEvent(leaving);
    }"""
    assert not await large.page.evaluate(prevented)
    sending = await begin(large, photo_file)
    assert await large.page.evaluate(prevented)
    await sending.get_by_role("button", name=f"Pause upload of {photo_file.name}").click()
    await expect(sending.locator(".word")).to_have_text("Paused")
    assert not await large.page.evaluate(prevented)


async def test_pause_and_resume_by_keyboard(large, photo_file):
    sending = await begin(large, photo_file)
    await sending.locator(".open").focus()
    await large.page.keyboard.press("Tab")
    await expect(sending.get_by_role("button", name=f"Pause upload of {photo_file.name}")).to_be_focused()
    await large.page.keyboard.press("Enter")
    await expect(sending.get_by_role("button", name=f"Resume upload of {photo_file.name}")).to_be_focused()
    await large.let_go()
    message = large.page.locator(".message")
    await large.page.keyboard.press("Tab")
    await expect(sending.get_by_role("button", name=f"Cancel upload of {photo_file.name}")).to_be_focused()
    await large.page.keyboard.press("Tab")
    await expect(message.get_by_role("button", name="Resume")).to_be_focused()
    await large.page.keyboard.press("Enter")
    await expect(message.get_by_role("button", name="Pause")).to_be_focused()
    await large.expect_arrived(photo_file)
    assert await large.visit.find_errors() == []


async def test_a_folder_of_forty_files_is_paused_and_resumed_as_a_whole(large, tmp_path):
    folder = tmp_path / unique_name("Holiday")
    folder.mkdir()
    for number in range(34):
        (folder / f"{number}.jpg").write_bytes(a_photo(f"{folder.name}{number}", 300, 200, number))
    (folder / "poster.jpg").write_bytes(large_photo(folder.name))
    for number in range(5):
        (folder / f"notes {number}.txt").write_text("Nice.")
    (folder / ".hidden.jpg").write_bytes(b"0")
    await large.slow(8 * MIB)
    await large.page.locator("#folder").set_input_files(folder)
    await expect(large.page.locator(".message", has_text=folder.name)).to_have_text(
        f"35 pictures from “{folder.name}”. 5 other files are left out."
    )
    progress = large.page.locator(".message", has_text="of 35 uploaded")
    await progress.get_by_role("button", name="Pause").click()
    await expect(progress).to_contain_text("Paused · ")
    await expect(progress.get_by_role("button", name="Dismiss this message")).to_be_hidden()
    await progress.get_by_role("button", name="Resume").click()
    await expect(large.page.locator(".message", has_text="35 of 35 uploaded.")).to_be_visible(timeout=60_000)
    await expect(large.page.locator(".tile")).to_have_count(35)
    await large.expect_arrived(folder / "poster.jpg")
    assert await large.visit.find_errors() == []


async def test_thousands_of_files_wait_without_a_tile_each(large):
    """Made in the page, since they are many."""
    await large.page.route("**/api/v1/images", lambda route: None)  # never answered
    make = """(count) => {
        const carried = new DataTransfer();
        for (let number = 0; number < count; number++) carried.items.add(new File(["x"], `${number}.jpg`));
        const input = document.querySelector(".bar input[type=file]");
        input.files = carried.files;
        input.dispatchEvent(new Event("change"));
        return document.querySelectorAll(".tile").length;
    }"""
    assert await large.page.evaluate(make, 5000) <= 63
    progress = large.page.locator(".message", has_text="0 of 5,000 uploaded")
    await progress.get_by_role("button", name="Cancel the rest").click()
    await expect(large.page.locator(".tile")).to_have_count(0)
    await expect(progress).to_have_count(0)
    assert await large.visit.find_errors() == []


async def test_on_a_narrow_screen_nothing_overflows_and_buttons_are_large_enough(large, photo_file):
    await large.page.set_viewport_size({"width": 360, "height": 740})
    sending = await begin(large, photo_file)
    assert await large.page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in (sending.locator(".pause"), sending.locator(".dismiss"), large.page.locator(".message .act").first):
        box = await button.bounding_box()
        assert min(box["width"], box["height"]) >= 24  # WCAG 2.5.8
    pause, cancel = [await sending.locator(name).bounding_box() for name in (".pause", ".dismiss")]
    assert pause["x"] + pause["width"] <= cancel["x"]
