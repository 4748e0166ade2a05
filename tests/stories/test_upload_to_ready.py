"""The main job with the real processes: a photo goes in, an event comes out, the renditions are there."""

import asyncio

import httpx
import pytest

import photos
from factories import fetch_anonymously, listen, post, wait_until_settled
from gallery_processes import api, free_port, run_gallery, worker


@pytest.fixture(params=["files", "s3"])
def store_environment(request, environment):
    """The environment of a Gallery that keeps its objects in files, and of one that keeps them in S3."""
    if request.param == "files":
        return environment
    s3 = request.getfixturevalue("s3")
    return {**environment, **s3, "S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-objects"}


async def test_a_photo_is_uploaded_rendered_and_announced(store_environment, tmp_path):
    photo = photos.a_twelve_megapixel_photo()
    async with (
        api(store_environment, tmp_path / "logs") as server,
        worker(store_environment, tmp_path / "logs") as rendering,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
        listen(client) as maya,
    ):
        image = (await post(client, photo, title="Lake")).json()
        ready = await maya.next("image.ready")
        assert maya.types == ["image.uploaded", "image.processing", "image.ready"]
        assert (await wait_until_settled(client, image["id"]))["status"] == "READY", "never behind its event"

        found = (await client.get(f"/api/v1/images/{image['id']}")).json()
        assert (found["width"], found["height"]) == (4032, 3024), "of the upright picture"
        for rendition in found["renditions"]:
            picture = await client.get(rendition["url"])
            assert photos.opened(picture.content).size == (rendition["width"], rendition["height"])
        assert (await client.get(found["s3Url"])).content == photo
        download = (await client.get(f"/api/v1/images/{image['id']}/download")).json()["url"]
        assert (await fetch_anonymously(download)).content == photo

        await client.delete(f"/api/v1/images/{image['id']}")
        assert (await maya.next()).event == "image.deleted"
        assert int(maya.events[-1].id) == int(ready.id) + 1
        assert rendering.log_lines("image.ready")[0]["image"] == image["id"]
        assert server.log_lines("request")[-1]["status"] in (200, 201)
    assert "Traceback" not in server.log_text() + rendering.log_text()


async def test_two_hundred_photos_at_once_are_ready_with_one_event_each(environment, tmp_path):
    contents = photos.distinct_photos(200)
    async with (
        api(environment, tmp_path / "logs") as server,
        worker(environment, tmp_path / "logs"),
        httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=40)) as client,
        listen(client) as maya,
    ):
        answers = await asyncio.gather(*(post(client, content) for content in contents))
        ids = {answer.json()["id"] for answer in answers}
        assert len(ids) == 200
        async with asyncio.timeout(110):
            while maya.types.count("image.ready") < 200:
                await maya.next()
        per_image = {image: [] for image in ids}
        for event, data in zip(maya.events, maya.data(), strict=True):
            per_image[data["imageId"]].append((event.event, data["version"]))
        expected = [("image.uploaded", 1), ("image.processing", 2), ("image.ready", 3)]
        assert all(events == expected for events in per_image.values())
        numbers = [int(event.id) for event in maya.events]
        assert numbers == list(range(numbers[0], numbers[0] + 600))


async def test_many_api_processes_share_one_port(environment, tmp_path):
    async with (
        api(environment, tmp_path / "logs", GALLERY_SERVE__WORKERS="2") as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
        listen(client) as maya,
    ):
        async with asyncio.timeout(30):
            while len(server.log_lines("api.serving")) < 2:
                await asyncio.sleep(0.05)
        for _ in range(10):
            assert (await post(client)).status_code == 201
        async with asyncio.timeout(20):
            while maya.types.count("image.uploaded") < 10:
                await maya.next()


async def test_worker_mode_starts_a_worker(environment, tmp_path):
    """`docker run -e WORKER_MODE=true`: the command serves, the variable makes it a worker."""
    async with run_gallery({**environment, "WORKER_MODE": "true"}, tmp_path / "logs", "serve") as rendering:
        assert (await rendering.wait_for_event("worker.working"))["process"] == "worker"


async def test_the_command_line_sets_the_concurrency(environment, tmp_path):
    """The command line wins over the environment."""
    more = {**environment, "GALLERY_SERVE__WORKERS": "1", "PORT": str(free_port())}
    async with (
        worker(
            {**environment, "GALLERY_WORKER__CONCURRENCY": "1"}, tmp_path / "logs", "--concurrency", "3"
        ) as rendering,
        run_gallery(more, tmp_path / "logs", "serve", "--workers", "2") as server,
    ):
        assert rendering.log_lines("worker.working")[0]["concurrency"] == 3
        async with asyncio.timeout(60):
            while len(server.log_lines("api.serving")) < 2:
                await asyncio.sleep(0.02)
