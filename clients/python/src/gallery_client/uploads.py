"""Uploads: a form for most photos, tus (https://tus.io) for large ones, which goes on where a connection broke."""

import base64
from functools import partial
from typing import Any

import httpx
import msgspec

from gallery_client.api import Api, decode
from gallery_client.errors import GalleryError, not_understood
from gallery_client.models import Image, UploadFields, focus_of
from gallery_client.sources import Source
from gallery_client.transports import Call, Form, Progress

LARGE_BYTES = 8_000_000  # from here on by tus
CHUNK_BYTES = 64 * 1024 * 1024  # of one request; many proxies take no more than 100 MB
TUS = {"Tus-Resumable": "1.0.0"}


async def upload(api: Api, source: Source, fields: UploadFields, key: str, on_progress: Progress | None) -> Image:
    """Raises `GalleryError`, also if the receipt (the SHA-256 of what is stored) is another than the file's."""
    form = _form_fields(fields) | {"sha256": source.sha256}
    send = _by_form if source.size < LARGE_BYTES else _by_tus
    image = await send(api, source, form, key, on_progress)
    if image.sha256 != source.sha256:
        raise GalleryError("receipt_mismatch", f"Gallery has stored other bytes, as the image {image.id}.")
    return image


async def _by_form(api: Api, source: Source, fields: dict[str, Any], key: str, on_progress: Progress | None) -> Image:
    form = Form(fields, source.name, await api.transport.work(source.read), on_progress)
    response = await api.call(Call("POST", "/images", headers={"Idempotency-Key": key}, form=form))
    return decode(response, Image)


async def _by_tus(api: Api, source: Source, fields: dict[str, Any], key: str, on_progress: Progress | None) -> Image:
    begun = await api.call(Call("POST", "/uploads", headers=_creation(source, fields, key)))
    state = _State(begun)
    path = "/uploads/" + begun.headers.get("Location", "").rpartition("/")[2]
    retries = api.retries()
    while state.image is None:
        try:
            answer = await api.attempt(_chunk(path, source, state.offset, on_progress))
        except GalleryError as error:
            await retries.pause(error)
            answer = await api.call(Call("GET", path, headers=TUS))  # as HEAD, but a refusal is told in a body
        before, state = state, _State(answer)
        if state.offset > before.offset:
            retries.succeeded()
    image = decode(await api.call(Call("GET", f"/images/{state.image}")), Image)
    return msgspec.structs.replace(image, duplicate=state.duplicate)


class _State:
    """How far an upload is, as each answer tells it."""

    def __init__(self, answer: httpx.Response) -> None:
        """Raises `GalleryError`."""
        offset = answer.headers.get("Upload-Offset", "")
        if not offset.isdecimal():
            raise not_understood(answer, "it has no Upload-Offset")
        self.offset = int(offset)
        self.image = answer.headers.get("Gallery-Image")
        self.duplicate = answer.headers.get("Gallery-Duplicate") == "true"


def _creation(source: Source, fields: dict[str, Any], key: str) -> dict[str, str]:
    values = {name: value for name, value in fields.items() if name != "tags"}
    if fields.get("tags"):
        values["tags"] = msgspec.json.encode(fields["tags"]).decode()
    values |= {"filename": source.name, "idempotencyKey": key}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in values.items())
    return TUS | {"Upload-Length": str(source.size), "Upload-Metadata": metadata}


def _chunk(path: str, source: Source, offset: int, on_progress: Progress | None) -> Call:
    end = min(offset + CHUNK_BYTES, source.size)
    headers = TUS | {
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(end - offset),
    }
    on_sent = None if on_progress is None else lambda sent: on_progress(offset + sent, source.size)
    return Call("PATCH", path, headers=headers, blocks=partial(source.blocks, offset, end), on_sent=on_sent)


def _form_fields(fields: UploadFields) -> dict[str, Any]:
    """As forms have them."""
    form: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    if "tags" in form:
        form["tags"] = list(form["tags"])
    if "focus" in form:
        form["focus"] = str(focus_of(form["focus"]))
    return form
