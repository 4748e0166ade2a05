"""Uploads by the IETF's protocol, at the addresses of those by tus: their handlers call these functions.

The response `104 (Upload Resumption Supported)` goes out before the body is read. URLSession of Apple resumes only what
it has got this response for.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from litestar.response import Response
from msgspec import Struct

from gallery.access.model import Caller
from gallery.errors import DigestMismatch, Rejected
from gallery.images.model import ImageId
from gallery.images.service import Images
from gallery.responses import HEAD_SCOPE_KEY, INTERIM_KEY, SendInterim
from gallery.settings import Settings
from gallery.uploads import ietf
from gallery.uploads.digests import parse_digest_header
from gallery.uploads.ietf_uploads import IetfUploads
from gallery.uploads.model import Upload
from gallery.uploads.raw import parse_head
from gallery.uploads.responses import NO_STORE, image_response, outcome_headers
from gallery.uploads.schema import FORM_FIELDS
from gallery.uploads.service import parse_idempotency_key
from gallery.uploads.tickets import size_limit

HTTPRequest = Request[Any, Any, Any]


class Services(Struct, frozen=True):
    """What the handlers are given."""

    uploads: IetfUploads
    images: Images
    settings: Settings


async def create(request: HTTPRequest, caller: Caller, services: Services) -> Response[Any]:
    """Begin an upload. A body may have the file's first bytes, or all of them."""
    headers, exchange = request.headers, begin_exchange(request, caller, services.settings)
    said = ietf.parse_said(headers, 0)
    key = parse_idempotency_key(headers.getall("idempotency-key", []))
    digests = {"Repr-Digest": headers.getall("repr-digest", [])}
    dispositions = headers.getall("content-disposition", [])
    form = parse_head(request.scope["query_string"], dispositions, digests, FORM_FIELDS)
    new, body = ietf.parse_creation(headers, form, said, key), Content(request)
    upload = await services.uploads.create(caller, new, with_content=body.size != 0)
    base = services.settings.public_url or str(request.base_url).rstrip(
        "/"
    )  # absolute, as in all examples of the draft
    location = {"Location": f"{base}/api/v1/uploads/{upload.id}"}
    exchange.limits = ietf.limits(size_limit(caller, services.settings.upload.max_bytes), upload.expires_at)
    replayed = {} if upload.outcome is None else {"Idempotency-Replayed": "true"}
    if upload.outcome is None and (said.last or body.size != 0):
        _announce(request, exchange, location)
        upload = await _append(services, caller, upload.id, 0, body, said, exchange)
    if said.last:
        return await _final_response(upload, caller, services, exchange, replayed)
    return _state_response(upload, caller, services, exchange, 201, location | replayed)


async def append(request: HTTPRequest, id_: ImageId, caller: Caller, services: Services) -> Response[Any]:
    """Write the next bytes; with `Upload-Complete: ?1` they are the last ones."""
    exchange = begin_exchange(request, caller, services.settings)
    offset = ietf.parse_offset(request.headers)
    said = ietf.parse_said(request.headers, offset)
    upload = await _append(services, caller, id_, offset, Content(request), said, exchange)
    if said.last:
        return await _final_response(upload, caller, services, exchange, {})
    return _state_response(upload, caller, services, exchange, 204, {})


async def prepare_read(request: HTTPRequest, id_: ImageId, caller: Caller, services: Services) -> None:
    """Before an upload is read: a `HEAD` is for its sender, which sends nothing else meanwhile."""
    if request.headers.get("upload-draft-interop-version") is not None:
        begin_exchange(request, caller, services.settings)
    if HEAD_SCOPE_KEY in request.scope:
        await services.uploads.take_over(caller, id_)


def state_headers(upload: Upload, caller: Caller, settings: Settings) -> dict[str, str]:
    """How far an upload is, and the image that it has become."""
    state = ietf.state_headers(upload, size_limit(caller, settings.upload.max_bytes))
    return state | outcome_headers(upload, settings.public_url)


def begin_exchange(request: HTTPRequest, caller: Caller, settings: Settings) -> ietf.Exchange:
    """From now on, problems of this request are answered as the protocol demands."""
    limits = ietf.limits(size_limit(caller, settings.upload.max_bytes))
    exchange = ietf.Exchange(ietf.version_of(request.headers), limits)
    _extensions(request)[ietf.SCOPE_KEY] = exchange
    return exchange


class Content:
    """The body of one request. With a `Content-Digest`, its bytes count only once all are there and have that hash."""

    def __init__(self, request: HTTPRequest) -> None:
        """Raises `InvalidHeader`."""
        self._request = request
        self._sha256 = parse_digest_header("Content-Digest", request.headers.getall("content-digest", []))
        self._digest = hashlib.sha256()
        self.size = ietf.content_length(request.headers)
        self.at_once = self._sha256 is not None
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for block in self._request.stream():
            if self.at_once:
                self._digest.update(block)
            yield block
        self.ended = True

    def check(self) -> None:
        """Raises `DigestMismatch`."""
        if self.at_once and self._digest.hexdigest() != self._sha256:
            raise DigestMismatch(received=self._digest.hexdigest(), expected=self._sha256)


async def _append(
    services: Services,
    caller: Caller,
    id_: ImageId,
    offset: int,
    body: Content,
    said: ietf.Said,
    exchange: ietf.Exchange,
) -> Upload:
    """Marks the exchange as complete if all bytes are there, but the file is refused."""
    try:
        return await services.uploads.append(caller, id_, offset, body, said)
    except Rejected as error:
        exchange.complete = said.last and body.ended and type(error) not in ietf.TYPE_BY_ERROR
        raise


def _announce(request: HTTPRequest, exchange: ietf.Exchange, location: dict[str, str]) -> None:
    """Send a 104, if the client speaks a draft that Gallery speaks, and the connection can carry it."""
    send: SendInterim | None = _extensions(request).get(INTERIM_KEY)
    if send is not None and exchange.version is not None:
        status, reason = ietf.SUPPORTED
        send(status, reason, location | exchange.headers | {"Upload-Limit": exchange.limits})


async def _final_response(
    upload: Upload, caller: Caller, services: Services, exchange: ietf.Exchange, more: dict[str, str]
) -> Response[Any]:
    """As that of `POST /images`: the image."""
    exchange.complete = True
    headers = exchange.headers | outcome_headers(upload, services.settings.public_url) | more
    headers["Upload-Offset"] = str(upload.received)
    return await image_response(upload, caller, services.images, services.settings.public_url, headers)


def _state_response(
    upload: Upload, caller: Caller, services: Services, exchange: ietf.Exchange, status: int, headers: dict[str, str]
) -> Response[Any]:
    state = state_headers(upload, caller, services.settings)
    return Response(None, status_code=status, headers=state | exchange.headers | NO_STORE | headers)


def _extensions(request: HTTPRequest) -> dict[str, Any]:
    if request.scope.get("extensions") is None:
        request.scope["extensions"] = {}
    found: dict[str, Any] = request.scope["extensions"]  # type: ignore[assignment]  # keys of Gallery beside the server's
    return found
