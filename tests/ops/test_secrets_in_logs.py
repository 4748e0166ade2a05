"""Secrets and private contents must never be in a log, at any level: credentials, metadata, pixels."""

import asyncio
import os
import re
import secrets
import sys
from asyncio.subprocess import PIPE

import httpx

import gallery_processes
import photos
from credentials import JWT_SECRET, bearer_headers, make_token, run_command, secret_of, upload_headers
from factories import wait_until_settled
from s3 import create_bucket

SECRET_BYTES = b"pixels of a private picture"


async def test_no_secret_and_no_body_is_logged_at_debug_level(environment, tmp_path):
    signing_key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    link_key = signing_key[::-1].removeprefix("=") + "="
    closed = {
        **environment,
        "GALLERY_ACCESS__OPEN": "false",
        "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET,
        "GALLERY_ACCESS__SIGNING_KEYS": f"one:{signing_key}",
        "GALLERY_ACCESS__LINK_KEYS": f"two:{link_key}",
        "GALLERY_LOGS__LEVEL": "debug",
        "GALLERY_LOGS__FORMAT": "json",
    }
    _, key, _ = await run_command(
        closed, "keys", "create", "--owner", "maya", "--scope", "images:read", "--scope", "images:write"
    )
    key, token = key.strip(), make_token("maya")
    metadata = {name: f"{name}-{secrets.token_hex(8)}" for name in ("title", "description", "alt")}
    file = {"file": ("lake.jpg", photos.a_jpeg(comment=SECRET_BYTES))}
    async with (
        gallery_processes.api(closed, tmp_path) as api,
        gallery_processes.worker(closed, tmp_path) as worker,
        httpx.AsyncClient(base_url=api.url, timeout=20, headers={"X-API-Key": key}) as client,
        httpx.AsyncClient(base_url=api.url, timeout=20) as other_client,
    ):
        image = (await client.post("/api/v1/images", files=file, data=metadata)).json()["id"]
        await wait_until_settled(client, image)
        damaged = {"file": ("x.jpg", b"\xff\xd8" + SECRET_BYTES)}
        assert (await client.post("/api/v1/images", files=damaged)).status_code == 415
        assert (await other_client.get("/api/v1/images", headers=bearer_headers(token))).status_code == 200
        assert (await other_client.get("/api/v1/images", headers=bearer_headers(token + "x"))).status_code == 401
        assert (await other_client.get("/api/v1/images", headers={"X-API-Key": key + "x"})).status_code == 401
        links = (await client.post(f"/api/v1/images/{image}/links")).text
        signature = re.search(r"sig=([\w-]+)", links)[1]
        link = re.search(r"/api/v1/[^\"\s,]+sig=[^\"\s,]+", links)[0]
        assert (await other_client.get(link)).status_code == 200
        assert (await other_client.get(link.replace(signature, signature[::-1]))).status_code in (401, 403, 404)
        ticket = (await client.post("/api/v1/notifications/ticket")).json()["ticket"]
        async with other_client.stream("GET", "/api/v1/notifications/stream", params={"ticket": ticket}) as stream:
            assert stream.status_code == 200
        assert (await other_client.get(f"/api/v1/notifications/stream?ticket={ticket}x")).status_code == 401
        upload_ticket = (await client.post("/api/v1/uploads/ticket")).json()["ticket"]
        by_ticket = upload_headers(upload_ticket)
        assert (await other_client.get("/api/v1/images", headers=by_ticket)).status_code == 200
        assert (await other_client.get(f"/api/v1/images?ticket={upload_ticket}")).status_code == 401
        for headers in (upload_headers(upload_ticket + "x"), bearer_headers(upload_ticket)):
            assert (await other_client.get("/api/v1/images", headers=headers)).status_code == 401
        stream_url = f"/api/v1/notifications/stream?ticket={upload_ticket}"
        async with other_client.stream("GET", stream_url) as stream:
            assert stream.status_code == 200
        cookie = (await other_client.post("/api/v1/session", headers=bearer_headers(token))).headers["set-cookie"]
        session = re.match(r"[^=]+=([^;]+)", cookie)[1]
    logged = api.log_text() + worker.log_text()
    assert '"level": "debug"' in logged, "the lowest level must be on"
    assert f'"image": "{image}"' in logged
    hidden = {
        "API key": secret_of(key), "JWT": token.rpartition(".")[2], "signature of a link": signature,
        "its reverse": signature[::-1], "ticket": ticket, "session": session, "signing key": signing_key,
        "link key": link_key, "upload ticket": upload_ticket.rpartition("_")[2],
        "secret of JWTs": JWT_SECRET, "password": environment["DATABASE_URL"].split("@")[0].rpartition(":")[2],
        "bytes": SECRET_BYTES.decode(), **metadata,
    }  # fmt: skip
    assert {name: text for name, text in hidden.items() if not text or text in logged} == {}


async def test_no_request_to_s3_is_logged_with_its_signature(s3):
    """The library logs headers, signatures and URLs that clients may use."""
    script = """
import asyncio, os
from datetime import timedelta
from gallery.adapters.objects.store import open_objects
from gallery.ops import logs
from gallery.settings import Settings

async def main():
    settings = Settings.read(os.environ)
    logs.configure(settings.logs)
    multipart = open_objects(settings).multipart
    handle = await multipart.begin("key-of-the-test")
    await multipart.put_part("key-of-the-test", handle, 1, 0, b"pixels of a private picture")
    print(handle, (await multipart.sign_part("key-of-the-test", handle, 1, 9, timedelta(hours=1))).url)
    await multipart.abort("key-of-the-test", handle)

asyncio.run(main())
"""
    create_bucket(s3, "logged-parts")
    chosen = {"S3_BUCKET": "logged-parts", "GALLERY_LOGS__LEVEL": "debug", "GALLERY_LOGS__FORMAT": "json"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), env={**os.environ, **s3, **chosen}, stdout=PIPE, stderr=PIPE
    )
    output, log = await process.communicate()
    assert process.returncode == 0, log.decode()
    handle, url = output.decode().split()
    found = [
        word for word in (handle, url, s3["S3_SECRET_KEY"], "Signature", "private picture") if word in log.decode()
    ]
    assert found == [], log.decode()[-2000:]
