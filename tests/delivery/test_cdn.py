"""nginx as a cache in front, with the configuration that the guide shows: real hits, and no mix-ups."""

import asyncio
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

import photos
from conftest import serve_api
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import upload_image
from gallery.access.model import Caller, Owner, Scope
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing
from gallery_processes import free_port

GUIDE = Path(__file__).parents[2] / "docs/guides/cdn.md"
OWNER = Caller(owner=Owner("maya"), scopes=frozenset({Scope.READ, Scope.WRITE}))
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {guide}
}}
"""


@asynccontextmanager
async def nginx(folder: Path, upstream: str):
    """nginx with the guide's configuration before `upstream`; yields its URL."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("nginx is not installed: tests/install-tools does that on Debian")
    folder.mkdir()
    port = free_port()
    guide = re.search(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)[1]
    for text, here in (
        ("/var/cache/nginx/gallery", str(folder / "cache")),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("http://127.0.0.1:3000", upstream),
    ):
        assert text in guide
        guide = guide.replace(text, here)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, guide=guide))
    user = () if psutil.Process().uids().real else ("-g", "user root;")
    process = await asyncio.create_subprocess_exec(
        program, "-c", folder / "nginx.conf", "-e", folder / "error.log", *user
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            while not await _answers(client, url):
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/livez")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def cached(environment, tmp_path):
    """A client through nginx, and a public and a private image."""
    access = {
        "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET,
        "GALLERY_PRESETS__AVATAR": "w=96&h=96&fit=cover",
        "GALLERY_PROXIES": "127.0.0.1",
    }
    async with (
        open_gallery(Settings.read({**environment, **access})) as gallery,
        open_processing(gallery) as processing,
        serve_api(gallery) as upstream,
        nginx(tmp_path / "nginx", upstream) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as client,
    ):
        images = []
        for visibility in ("public", "private"):
            uploaded = await upload_image(
                gallery, photos.a_jpeg(800, 600) + visibility.encode(), caller=OWNER, visibility=visibility
            )
            await processing.process(uploaded.id)
            images.append(await gallery.images.get(OWNER, uploaded.id))
        yield gallery, client, *images


async def test_pictures_of_public_images_are_kept_in_each_format(cached):
    gallery, client, public, _ = cached
    path = f"/api/v1/images/{public.id}/picture?preset=avatar&v={gallery.picture_requests.version(public)}"
    accepts = {"image/avif,image/webp,*/*": "image/avif", "image/webp,*/*": "image/webp", "*/*": "image/jpeg"}
    for expected in ("MISS", "HIT", "HIT"):
        for accept, kind in accepts.items():
            answer = await client.get(path, headers={"Accept": accept})
            assert answer.status_code == 200, answer.text
            assert (answer.headers["x-cache"], answer.headers["content-type"]) == (expected, kind)
            assert answer.headers["cache-tag"] == answer.headers["surrogate-key"] == public.id
    etag = answer.headers["etag"]
    assert (await client.get(path, headers={"Accept": "*/*", "If-None-Match": etag})).status_code == 304
    part = await client.get(path, headers={"Accept": "*/*", "Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, answer.content[:10])


async def test_what_may_change_or_is_private_is_never_kept(cached):
    _, client, public, private = cached
    mine = bearer_headers(make_token("maya"))
    rendition = private.renditions[0]
    for path, headers in (
        (f"/api/v1/images/{public.id}/picture?preset=avatar", {}),
        (f"/api/v1/images/{public.id}/original", {}),
        (f"/api/v1/images/{private.id}/{rendition.name}.{rendition.format}?v={private.recipe}", mine),
        (f"/api/v1/images/{private.id}/picture?w=50", mine),
    ):
        for _ in range(3):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-cache"] in ("MISS", "EXPIRED"), path
    assert (await client.get(f"/api/v1/images/{private.id}/picture?w=50")).status_code == 401
    assert "cache-tag" not in answer.headers
