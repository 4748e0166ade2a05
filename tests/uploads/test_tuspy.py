"""The public Python client of tus: https://github.com/tus/tus-py-client."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.storage.filestorage import FileStorage

import photos
import tus_requests as tus
from credentials import create_upload_ticket, upload_headers
from cutting_proxy import cutting_proxy
from resumed import MIB, large_photo

PHOTO = large_photo(MIB)


class Stream(io.BytesIO):
    """The client closes a stream that it is given, and reads it again; files it leaves open."""

    def close(self) -> None:
        pass


@pytest.fixture(params=["token", "ticket"])
async def credential(request, running) -> AsyncIterator[dict[str, str]]:
    _, client = running
    if request.param == "ticket":
        yield upload_headers((await create_upload_ticket(client))["ticket"])
    else:
        yield {"Authorization": client.headers["Authorization"]}


async def upload(
    base: httpx.URL | str, headers: dict[str, str], content: bytes = PHOTO, stop_at: int | None = None, **more: Any
) -> Any:
    """The uploader when it has ended or stopped."""
    uploader = TusClient(f"{str(base).rstrip('/')}{tus.BASE}", headers=headers).uploader
    given = {"metadata": {"filename": "lake.jpg", "tags": json.dumps(["a"])}, **more}
    sending = await asyncio.to_thread(lambda: uploader(file_stream=Stream(content), **given))
    await asyncio.to_thread(sending.upload, stop_at)
    return sending


async def sent_image(client: httpx.AsyncClient, uploader: Any) -> dict[str, Any]:
    image = (await client.get(f"/api/v1/images/{uploader.request.response_headers['gallery-image']}")).json()
    assert (image["title"], image["tags"]) == ("lake", ["a"])
    assert image["sha256"] == hashlib.sha256(PHOTO).hexdigest()
    return image


@pytest.mark.parametrize("chunk", [MIB, 100_000])
@pytest.mark.parametrize("checksum", [True, False])
async def test_a_photo_in_chunks(running, credential, chunk, checksum):
    _, client = running
    uploader = await upload(client.base_url, credential, chunk_size=chunk, upload_checksum=checksum)
    await sent_image(client, uploader)


async def test_an_upload_goes_on_in_another_process(running, credential, tmp_path):
    _, client = running
    storage = FileStorage(str(tmp_path / "uploads.json"))
    kept: dict[str, Any] = {"chunk_size": 100_000, "store_url": True, "url_storage": storage}
    first = await upload(client.base_url, credential, stop_at=300_000, **kept)
    assert first.offset == 300_000
    second = await upload(client.base_url, credential, **kept)
    assert second.url == first.url
    await sent_image(client, second)
    storage.close()


async def test_a_connection_that_breaks_costs_no_byte_twice(running, credential):
    _, client = running
    async with cutting_proxy(client.base_url, 300_000, 200_000) as proxy:
        uploader = await upload(proxy, credential, retries=10, retry_delay=0.5)
    await sent_image(client, uploader)


async def test_a_refused_file_says_why(running, credential):
    _, client = running
    with pytest.raises(TusCommunicationError) as raised:
        await upload(client.base_url, credential, photos.a_jpeg()[2:])
    assert raised.value.status_code == 415
    assert json.loads(raised.value.response_content)["code"] == "not_a_picture"
