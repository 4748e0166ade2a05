"""`gallery dev` with options: they hold for its child processes, and win over the environment."""

import httpx

from credentials import run_command
from gallery_processes import base_environment, free_port, run_gallery, wait_until_ready

APP = "http://localhost:5173"


async def test_options_are_settings_of_all_parts(tmp_path):
    port, data = free_port(), tmp_path / "elsewhere"
    environment = {**base_environment(), "PORT": str(free_port()), "GALLERY_DATA_DIR": str(tmp_path / "not here")}
    args = ["dev", "--port", str(port), "--data-dir", str(data), "--closed", "--cors-origin", APP]
    async with run_gallery(environment, tmp_path / "logs", *args) as process:
        url = f"http://127.0.0.1:{port}"
        await wait_until_ready(url, process)
        beside = {**environment, "GALLERY_DATA_DIR": str(data)}
        code, key, _ = await run_command(
            beside, "keys", "create", "--owner", "maya", "--scope", "images:read", "--expires", "1h"
        )
        assert code == 0
        async with httpx.AsyncClient(base_url=url, headers={"Origin": APP}) as client:
            assert (await client.get("/api/v1/images")).status_code == 401
            answer = await client.get("/api/v1/images", headers={"X-Api-Key": key.strip()})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)
        worker = await process.wait_for_event("worker.working")
        assert worker["process"] == "worker"
    assert not (tmp_path / "not here").exists()


async def test_an_invalid_option_names_its_setting(tmp_path):
    environment = {**base_environment(), "GALLERY_DATA_DIR": str(tmp_path)}
    code, _, errors = await run_command(environment, "dev", "--cors-origin", "localhost:5173")
    assert code == 2
    assert "CORS_ORIGIN" in errors
