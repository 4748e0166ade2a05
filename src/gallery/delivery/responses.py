"""Responses with the bytes of a stored object, whole or in part (RFC 9110, section 14), and their headers."""

import time
from typing import Any, NamedTuple
from urllib.parse import quote

from litestar import Request
from litestar.openapi.datastructures import ResponseSpec
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import ASGIApp

from gallery.access.model import Caller, CredentialKind
from gallery.adapters.valkey.rates import RENDITIONS
from gallery.conditions import byte_range, unchanged
from gallery.delivery.service import Pictures
from gallery.images.model import Image
from gallery.images.openapi import NOT_MODIFIED
from gallery.responses import HEAD_SCOPE_KEY, CompleteResponse

MAX_BUFFERED_BYTES = 256 * 1024  # no more than the buffers of a stream to a slow reader hold
MAX_UNVERSIONED_SECONDS = 3600  # for which a browser may show a picture that has another focus or recipe meanwhile
PICTURE_OPTIONS = RENDITIONS | {"embeddable": True}  # for `opt`: pages of other origins of the same site may show it
RESPONSES = {  # `ConditionalOperation` knows the media types
    200: ResponseSpec(bytes, description="The picture, with a strong `ETag`", generate_examples=False),
    206: ResponseSpec(bytes, description="The requested part", generate_examples=False),
    304: NOT_MODIFIED,
    416: ResponseSpec(None, description="The part begins after the picture's end; `Content-Range` has its size"),
}


class Representation(NamedTuple):
    """A stored object as a response: its key in the object store, media type, size in bytes and strong `ETag`."""

    key: str
    type: str
    size: int
    etag: str


class ConditionalHeaders(NamedTuple):
    """The values of the request's conditional headers."""

    if_none_match: str | None
    range: str | None
    if_range: str | None

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> "ConditionalHeaders":
        headers = request.headers
        return cls(headers.get("if-none-match"), headers.get("range"), headers.get("if-range"))


async def respond(
    request: Request[Any, Any, Any],
    pictures: Pictures,
    representation: Representation,
    headers: dict[str, str],
) -> ASGIApp:
    """304 if the client has the picture, 206 for a valid range, else 200 with the whole picture."""
    conditions = ConditionalHeaders.of(request)
    headers["ETag"] = f'"{representation.etag}"'
    if unchanged(conditions.if_none_match, representation.etag):
        return CompleteResponse(304, headers)
    headers["Content-Type"] = representation.type
    if HEAD_SCOPE_KEY in request.scope:
        return CompleteResponse(200, {**headers, "Content-Length": str(representation.size)})
    limits = byte_range(conditions.range, conditions.if_range, representation.etag, representation.size)
    start, end = limits or (0, representation.size)
    if limits is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{representation.size}"
    headers["Content-Length"] = str(end - start)
    status = 206 if limits else 200
    chunks = await pictures.open(representation.key, representation.size, start, end if limits else None)
    if end - start > MAX_BUFFERED_BYTES:
        return ASGIStreamingResponse(iterator=chunks, status_code=status, headers=headers)
    body = b"".join([chunk async for chunk in chunks])  # before the first byte is sent, since the store may still fail
    return CompleteResponse(status, headers, body)


def cache_control(image: Image, caller: Caller, *, current: bool = False) -> str:
    """`Cache-Control`: a URL with the current version never changes its content. Shared caches may store a public
    image. What was read by a signed link may be stored until the link expires, without a version for an hour at most.
    """
    if caller.kind is CredentialKind.LINK:
        left = max(0, int((caller.expires_at or 0) - time.time()))
        return f"private, max-age={left if current else min(left, MAX_UNVERSIONED_SECONDS)}"
    scope = "public" if image.public else "private"
    return f"{scope}, max-age=31536000, immutable" if current else f"{scope}, no-cache"


def sharing_headers(image: Image, caller: Caller) -> dict[str, str]:
    """Any site may embed a public image, and a picture by its signed link; else the middleware's header holds. A CDN
    that keeps a public image forgets it by its tag.
    """
    tags = {"Cache-Tag": image.id, "Surrogate-Key": image.id} if image.public else {}
    embeddable_anywhere = image.public or caller.kind is CredentialKind.LINK
    return tags | ({"Cross-Origin-Resource-Policy": "cross-origin"} if embeddable_anywhere else {})


def object_headers(name: str, cache_control: str, disposition: str = "inline") -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": cache_control,
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
