"""Processes that stop, die and restart, while photos are in progress."""

import asyncio
import os
import signal

import httpx
import psutil
import redis.asyncio as redis

import photos
from factories import listen, post, wait_until_settled
from gallery.settings import Settings
from gallery_processes import api, base_environment, dev, free_port, run_gallery, worker


async def test_a_stop_with_open_streams_is_quick_and_quiet(environment, tmp_path):
    async with api(environment, tmp_path / "logs") as server, httpx.AsyncClient(base_url=server.url) as client:
        async with listen(client), listen(client, types="image.deleted"):
            began = asyncio.get_running_loop().time()
            assert await server.stop(signal.SIGTERM, seconds=5) == 0
            assert asyncio.get_running_loop().time() - began < 2
        assert "Traceback" not in server.log_text()
        assert {line["level"] for line in server.log_lines()} == {"info"}


async def test_a_killed_workers_image_is_ready_all_the_same(environment, tmp_path):
    async with api(environment, tmp_path / "logs") as server, httpx.AsyncClient(base_url=server.url) as client:
        async with worker(environment, tmp_path / "logs") as doomed:
            image = (await post(client, photos.a_twelve_megapixel_photo())).json()["id"]
            while (await client.get(f"/api/v1/images/{image}")).json()["status"] == "PENDING":
                await asyncio.sleep(0.01)
            await doomed.stop(signal.SIGKILL)
        async with worker(environment, tmp_path / "logs"):
            assert (await wait_until_settled(client, image, seconds=30))["status"] == "READY"


async def test_renderers_end_with_their_killed_worker(environment, tmp_path):
    async with (
        api(environment, tmp_path / "logs") as server,
        httpx.AsyncClient(base_url=server.url) as client,
        worker(environment, tmp_path / "logs") as doomed,
    ):
        await wait_until_settled(client, (await post(client)).json()["id"])
        renderers = psutil.Process(doomed.pid).children(recursive=True)
        assert renderers
        await doomed.stop(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, renderers, timeout=10)
        assert not alive


async def test_everything_pending_survives_a_flushall(environment, tmp_path):
    settings = Settings.read(environment)
    async with (
        api(environment, tmp_path / "logs") as server,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        async with worker(environment, tmp_path / "logs"):
            pass  # it has marked the queue: from here on a loss of Valkey's data is noticed
        ids = [(await post(client, content)).json()["id"] for content in photos.distinct_photos(20)]
        async with redis.from_url(settings.redis.url) as valkey:
            await valkey.flushdb()
        async with worker(environment, tmp_path / "logs"):
            for image in ids:
                assert (await wait_until_settled(client, image, seconds=60))["status"] == "READY"


async def test_gallery_sweep_by_hand(environment, tmp_path):
    async with api(environment, tmp_path / "logs") as server, httpx.AsyncClient(base_url=server.url) as client:
        await post(client)
    async with run_gallery(environment, tmp_path / "logs", "sweep", "--json") as sweep:
        assert await sweep.stop(0, seconds=20) == 0
    assert '{"rung":1,"removed":0}' in sweep.log_text()


async def test_gallery_verify_by_hand(environment, tmp_path):
    """A line for each difference, and an exit code for timers."""
    async with api(environment, tmp_path / "logs") as server, httpx.AsyncClient(base_url=server.url) as client:
        image = (await post(client)).json()["id"]
    original = Settings.read(environment).data_path / "objects" / "original" / image
    async with run_gallery(environment, tmp_path / "logs", "verify", "--bytes", "1") as whole:
        assert await whole.stop(0, seconds=20) == 0
    assert "Nothing is wrong." in whole.log_text()
    original.write_bytes(b"harmed")
    async with run_gallery(environment, tmp_path / "logs", "verify", "--bytes", "1", "--json") as harmed:
        assert await harmed.stop(0, seconds=20) == 1
    assert f'{{"found":"damaged-original","key":"original/{image}","image":"{image}"}}' in harmed.log_text()
    assert harmed.log_text().count("damaged-original") == 1
    assert harmed.log_text().splitlines()[-1] == '{"findings":1,"mended":0,"originals":1}'
    async with run_gallery(environment, tmp_path / "logs", "verify", "--after", "yesterday") as command:
        assert await command.stop(0, seconds=20) == 1
    assert "There is no image with this id." in command.log_text()
    async with run_gallery(environment, tmp_path / "logs", "sweep", "--dry-run", "--json") as planned:
        assert await planned.stop(0, seconds=20) == 0
    assert '{"rung":1,"removed":0}' in planned.log_text()


async def test_dev_restarts_every_process_that_dies(tmp_path):
    """PostgreSQL, Valkey, the API, the worker and a renderer, one after another; then a photo is rendered."""
    async with (
        dev(base_environment(), tmp_path) as stack,
        httpx.AsyncClient(base_url=stack.url, timeout=30) as client,
    ):
        await wait_until_settled(client, (await post(client)).json()["id"])
        for names in (("postgres",), ("valkey-server",), ("gallery", "serve"), ("gallery", "worker"), ("spawn_main;",)):
            if names == ("spawn_main;",):
                await wait_until_settled(client, (await post(client)).json()["id"], seconds=60)
            victim = stack.find_child(*names)
            os.kill(victim.pid, signal.SIGKILL)
            await asyncio.to_thread(psutil.wait_procs, [victim], timeout=10)
            await wait_ready(client)
            image = await upload_until_accepted(client, photos.a_jpeg(seed=victim.pid))
            assert (await wait_until_settled(client, image, seconds=60))["status"] == "READY"
        data = str(stack.data)
    assert [p for p in psutil.process_iter(["cmdline"]) if data in " ".join(p.info["cmdline"] or [])] == []


async def upload_until_accepted(client, content) -> str:
    """The id of an uploaded photo. It may be refused for a while: `/readyz` is up to a second old."""
    async with asyncio.timeout(30):
        while (answer := await post(client, content)).status_code == 503:
            await asyncio.sleep(0.1)
    return answer.json()["id"]


async def wait_ready(client):
    async with asyncio.timeout(30):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)


async def test_dev_ends_on_ctrl_c_without_a_traceback(tmp_path):
    async with dev(base_environment(), tmp_path) as stack, httpx.AsyncClient(base_url=stack.url) as client:
        async with listen(client):
            assert await stack.stop(signal.SIGINT, seconds=15) == 0
        assert "Traceback" not in stack.log_text()
        ends = [line["event"] for line in stack.log_lines() if line["event"] in ("api.ended", "worker.ended")]
        assert ends == ["api.ended", "worker.ended"]
        assert "child.exited" not in stack.log_text()


async def test_dev_recovers_after_a_kill_and_keeps_everything(tmp_path):
    async with dev(base_environment(), tmp_path) as stack, httpx.AsyncClient(base_url=stack.url) as client:
        image = (await post(client)).json()["id"]
        await wait_until_settled(client, image)
        await stack.stop(signal.SIGKILL)
    async with dev(base_environment(), tmp_path) as stack, httpx.AsyncClient(base_url=stack.url) as client:
        found = (await client.get(f"/api/v1/images/{image}")).json()
        assert found["status"] == "READY"
        assert (await client.get(found["renditions"][0]["url"])).status_code == 200


async def test_a_second_command_attaches_to_running_servers(stack, tmp_path):
    async with httpx.AsyncClient(base_url=stack.url) as client:
        await post(client)
        beside = {**base_environment(), "GALLERY_DATA_DIR": str(stack.data)}
        async with run_gallery(beside, tmp_path / "logs", "sweep", "--json") as sweep:
            assert await sweep.stop(0, seconds=20) == 0
        assert (await client.get("/readyz")).status_code == 200


async def run_failing_dev(tmp_path, **more):
    """The output of a `gallery dev` that cannot start, and its exit code."""
    async with run_gallery({**base_environment(), **more}, tmp_path / "logs", "dev") as process:
        code = await process.stop(0, seconds=30)
    return code, process.log_text()


async def test_a_port_in_use_is_one_clear_sentence(stack, tmp_path):
    port = stack.url.rpartition(":")[2]
    code, text = await run_failing_dev(tmp_path, PORT=port, GALLERY_DATA_DIR=str(tmp_path / "other"))
    assert code == 2
    assert text == f"gallery: Cannot listen on 127.0.0.1:{port}: Address already in use. Set PORT to a free port.\n"


async def test_a_broken_data_directory_is_one_clear_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a directory")
    code, text = await run_failing_dev(tmp_path, PORT="0", GALLERY_DATA_DIR=str(file))
    assert (code, text.count("\n")) == (2, 1)
    assert text.startswith(f"gallery: The data directory {file} is not a directory.")


async def test_a_bad_setting_is_one_clear_sentence(tmp_path):
    code, text = await run_failing_dev(tmp_path, PORT="many")
    assert (code, text) == (2, "gallery: PORT is 'many': Expected int, got str.\n")


async def test_open_mode_on_a_public_address_needs_a_setting(tmp_path):
    code, text = await run_failing_dev(tmp_path, GALLERY_HOST="0.0.0.0", PORT="0")
    assert code == 2
    assert "GALLERY_ACCESS__OPEN=true to give everyone full access" in text


async def test_a_second_dev_on_the_same_data_names_the_first(stack, tmp_path):
    code, text = await run_failing_dev(tmp_path, PORT="0", GALLERY_DATA_DIR=str(stack.data))
    assert code == 2
    assert text.startswith(f"gallery: Gallery already runs in {stack.data}, on port {stack.url.rpartition(':')[2]}")


async def test_dev_can_be_started_on_its_port_right_after_a_kill(tmp_path):
    port = str(free_port())
    for _ in range(2):
        async with dev(base_environment(), tmp_path, PORT=port) as stack:
            await stack.stop(signal.SIGKILL)
    async with dev(base_environment(), tmp_path, PORT=port) as stack, httpx.AsyncClient(base_url=stack.url) as client:
        assert (await client.get("/readyz")).status_code == 200
