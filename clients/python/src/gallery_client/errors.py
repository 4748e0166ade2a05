"""What a call raises: `GalleryError`, from the server's problem documents (RFC 9457)."""

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx
import msgspec
from msgspec import Struct

AGAIN_STATUSES = {408, 423, 425, 429}  # and all from 500 on
AGAIN_CODES = {"still_in_flight", "offset_mismatch"}


class FieldProblem(Struct, frozen=True):
    """A field or parameter that is not valid; `pointer` is a JSON pointer such as `/title`."""

    pointer: str
    detail: str


class GalleryError(Exception):
    """The call failed. Decide by `code`, which never changes; show `detail`, a sentence.

    `status` is that of the answer, if there was one; `request_id` is in the server's log; `errors` name the fields
    that are not valid; `retry_after` is in seconds.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        errors: Sequence[FieldProblem] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.errors: list[FieldProblem] = list(errors)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.detail} ({self.code})"

    @property
    def temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is not None and (
            self.status in AGAIN_STATUSES or self.status >= 500 or self.code in AGAIN_CODES
        )


class GalleryUnavailable(GalleryError):
    """There was no answer: no connection, or it broke, or it took too long."""

    def __init__(self, detail: str) -> None:
        super().__init__("unavailable", detail)

    def __reduce__(self) -> tuple[type["GalleryUnavailable"], tuple[str]]:
        return GalleryUnavailable, (self.detail,)

    @property
    def temporary(self) -> bool:
        return True


class GalleryTimeout(GalleryError, TimeoutError):
    """The image was neither READY nor FAILED in time. It may be later."""


class _Problem(Struct, rename="camel"):
    code: str
    detail: str
    request_id: str | None = None
    errors: list[FieldProblem] = []


def error_of(response: httpx.Response) -> GalleryError:
    """The error that an answer tells. A proxy's own pages get the code `http_502`."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        return GalleryError(
            f"http_{response.status_code}",
            f"The server answered {response.status_code} {response.reason_phrase}".rstrip() + _redirection(response),
            status=response.status_code,
            request_id=response.headers.get("X-Request-Id"),
            retry_after=_retry_after(response),
        )
    return GalleryError(
        problem.code,
        problem.detail,
        status=response.status_code,
        request_id=problem.request_id,
        errors=problem.errors,
        retry_after=_retry_after(response),
    )


def _redirection(response: httpx.Response) -> str:
    """The client does not follow: its token goes to the address of the caller only."""
    there = response.headers.get("Location") if response.is_redirect else None
    return f", and leads to {there}: the address of Gallery may be another one." if there else "."


def not_understood(response: httpx.Response, why: str) -> GalleryError:
    """For a success that another server tells, such as the page of a sign-in."""
    return GalleryError(
        "answer_not_understood",
        f"The answer is not one of Gallery's: {why}.",
        status=response.status_code,
        request_id=response.headers.get("X-Request-Id"),
    )


def _retry_after(response: httpx.Response) -> float | None:
    """In seconds; the header has these, or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
