"""All of Gallery's errors, in one tree. Longer than 320 lines on purpose: one class for each problem code.

A branch decides how an edge answers (HTTP status, retry or not, exit code); a leaf is one case. A leaf's docstring is
the sentence that a client reads, and `hint` is a second one, which may name facts of the case: a limit, a setting, a
scope. `code` is the class name in snake case, or `wire_code`. All other `facts` are for the log only.
"""

import re
from enum import Enum
from typing import Any, ClassVar

from msgspec import Struct

from gallery.masking import masked

MAX_ECHOED = 100  # characters of a client's own text in an answer


class GalleryError(Exception):
    """Something went wrong."""

    wire_code: ClassVar[str] = ""  # the public code, where it differs from the class name
    hint: ClassVar[str] = ""  # a format string; every instance has each fact that it names

    def __init__(self, **facts: object) -> None:
        super().__init__(type(self).__name__)
        self.facts = facts

    def __str__(self) -> str:
        facts = masked(" ".join(f"{name}={_plain(value)!r}" for name, value in self.facts.items()))
        return f"{self.code()}: {facts}" if facts else self.code()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.facts)  # keeps the facts when a renderer process returns an error

    @classmethod
    def code(cls) -> str:
        own: str = cls.__dict__.get("wire_code", "")
        return own or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def sentence(cls) -> str:
        return " ".join((cls.__doc__ or "").split("\n\n")[0].split())

    def message(self) -> str:
        """The sentence and the hint with this case's facts."""
        return f"{self.sentence()} {type(self).hint.format_map(self.facts)}".rstrip()


def describe_error(error: BaseException) -> str:
    """An exception for a log line: its class name as lower-case words, and its message."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type(error).__name__)
    kind, text = words.removesuffix("Error").strip().lower(), " ".join(str(error).split())
    return ": ".join(part for part in ("" if type(error) is OSError else kind, text) if part)


class SavedError(Struct, frozen=True):
    """An error in JSON: its code and its facts."""

    code: str
    facts: dict[str, Any]


def saved_error(error: GalleryError) -> SavedError:
    return SavedError(error.code(), {name: _plain(value) for name, value in error.facts.items()})


def restore_error(saved: SavedError) -> GalleryError:
    """The same error again. Raises `LookupError` for a code that this Gallery does not know."""
    return _rebuild(_by_code(saved.code), saved.facts)


def _by_code(code: str) -> type[GalleryError]:
    kinds: list[type[GalleryError]] = [GalleryError]
    for kind in kinds:  # grows meanwhile
        if kind.code() == code:
            return kind
        kinds += kind.__subclasses__()
    raise LookupError(code)


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _rebuild(kind: type[GalleryError], facts: dict[str, object]) -> GalleryError:
    return kind(**facts)


# --- the branches -----------------------------------------------------------------------------------------------


class NotFound(GalleryError):
    """The resource does not exist."""


class Conflict(GalleryError):
    """The request conflicts with the current state."""


class Rejected(GalleryError):
    """The request cannot be accepted."""


class Forbidden(GalleryError):
    """This action is not allowed."""


class Unauthorized(GalleryError):
    """Authentication is required."""


class Busy(GalleryError):
    """The server is busy; try again later."""


class Unavailable(GalleryError):
    """A required server is unavailable; try again later."""


# --- not found, conflict, forbidden --------------------------------------------------------------------------------


class ImageNotFound(NotFound):
    """There is no image with this id."""


class RenditionNotFound(NotFound):
    """This image has no such rendition."""


class PresetNotFound(NotFound):
    """There is no preset of pictures with this name."""


class ObjectNotFound(NotFound):
    """The object store does not hold this key."""


class BackupNotFound(NotFound):
    """There is no such backup at this location."""


class UploadNotFound(NotFound):
    """There is no upload with this id, or it has ended more than a day ago."""


class JobNotFound(NotFound):
    """There is no failed job with this id."""


class NotFailed(Conflict):
    """The image is not FAILED, or has been dropped already."""


class VersionMismatch(Conflict):
    """The image has changed since you read it."""

    hint = "Its version is {version} now: read it again, and send its new ETag in If-Match."


class StillInFlight(Conflict):
    """A request with this idempotency key is still in progress; try again in a moment."""


class UploadBusy(Conflict):
    """Another request is writing this upload; try again in a moment."""


class OffsetMismatch(Conflict):
    """The upload does not continue at this offset."""

    hint = "It has {received} bytes; ask for its offset, and go on from there."


class PartsMissing(Conflict):
    """Some parts of this upload have not arrived."""

    hint = "Missing: {missing}. Send them, and complete the upload again."


class StillProcessing(Conflict):
    """The image is already being processed; try again when it is READY or FAILED."""


class ImageNotReady(Conflict):
    """The image has not been rendered, so no picture can be made from it."""

    hint = "Its status is {status}."


class ForeignStore(Conflict):
    """The object store belongs to another Gallery installation."""


class StoreClosed(ForeignStore):
    """The objects have moved from this object store to another one."""


class BackupUnderWay(Conflict):
    """Another backup of this Gallery is running."""


class BackupForeign(Conflict):
    """This location holds backups of another Gallery."""


class BackupDamaged(Conflict):
    """The backup is damaged."""


class RemovedMeanwhile(Conflict):
    """An object was removed before it was copied; run the backup again, and it continues where it stopped."""


class ForeignHost(Forbidden):
    """This Gallery serves its own machine only, and the request names another host."""

    hint = 'The host is "{host}". Set GALLERY_ACCESS__OPEN to serve other hosts.'

    def __init__(self, host: str) -> None:
        super().__init__(host=host[:MAX_ECHOED])


class ForeignOrigin(Forbidden):
    """Pages of this origin may not send write requests."""

    hint = "The origin is {origin}; CORS_ORIGIN lists the allowed origins."

    def __init__(self, origin: str) -> None:
        super().__init__(origin=origin[:MAX_ECHOED])


class ScopeMissing(Forbidden):
    """The credential lacks a required scope."""

    hint = "This call needs the scope {scope}."

    def __init__(self, scope: str) -> None:
        super().__init__(scope=scope)
        self.scope = scope


class PictureNotAllowed(Forbidden):
    """Without credentials, pictures can only be requested by a preset."""

    hint = "Send `preset` alone, or with `dpr` 1, 2 or 3 (GALLERY_PICTURES__ANONYMOUS={setting})."


class UploadTicketNotEnough(Forbidden):
    """An upload ticket does not allow this call: it uploads, and reads what it has uploaded."""


class UploadTicketUsedUp(Forbidden):
    """The upload ticket has no uses left; it still reads what it has uploaded."""


class LinkNotValid(Forbidden):
    """The link is not valid or has expired."""


class CredentialsRequired(Unauthorized):
    """This request needs a credential: an API key, a bearer token or a session."""


class CredentialNotValid(Unauthorized):
    """The credential is not valid, has expired or was revoked."""


class TokenNotValid(CredentialNotValid):
    """The token is not valid."""


class TokenMalformed(TokenNotValid):
    """The token is not a signed JWT."""


class TokenAlgorithmRefused(TokenNotValid):
    """The token is signed with an algorithm that this server does not accept."""


class TokenSignatureInvalid(TokenNotValid):
    """The token's signature does not match any key that this server trusts."""


class TokenExpired(TokenNotValid):
    """The token has expired."""


class TokenNotYetValid(TokenNotValid):
    """The token is not valid yet: its nbf or iat claim is in the future."""


class TokenAudienceWrong(TokenNotValid):
    """The token's aud claim does not name this server."""


class TokenAudienceNotSet(TokenAudienceWrong):
    """The token has an aud claim, but this server has no audience configured."""

    hint = "Set the accepted audience in GALLERY_ACCESS__JWT_AUDIENCE."


class TokenIssuerWrong(TokenNotValid):
    """The token's iss claim does not name the issuer that this server trusts."""


class TokenClaimMissing(TokenNotValid):
    """The token lacks a required claim."""

    hint = "This server needs the claim {claim}."


class TokenClaimInvalid(TokenNotValid):
    """A claim of the token has a value that this server cannot use."""

    hint = "The claim is {claim}."


class KeyNotFound(NotFound):
    """There is no active API key with this id."""


class UploadTicketNotFound(NotFound):
    """There is no upload ticket with this id."""


# --- rejected requests and uploads -------------------------------------------------------------------------------


class RuleBroken(Rejected):
    """The request is not valid."""

    hint = "{rule}"

    def __init__(self, rule: str, **facts: object) -> None:
        """`rule` is a sentence for the client; it repeats nothing of the client's input."""
        super().__init__(rule=rule, **facts)


class MalformedRequest(RuleBroken):
    """The request is not valid HTTP."""


class IiifRequestInvalid(RuleBroken):
    """The request does not follow the IIIF Image API 3.0."""


class MalformedHost(MalformedRequest):
    """The request must name exactly one valid host."""


class MalformedBody(RuleBroken):
    """The request body cannot be read."""


class UnsupportedContentType(MalformedBody):
    """The request body cannot be read.

    `accepted` are the media types for `Accept-Post`. The code is that of any other body that cannot be read.
    """

    wire_code = "malformed_body"


class TooLarge(Rejected):
    """The file or the request body is too large."""

    hint = "A file may have at most {limit:,} bytes ({set_by})."

    def __init__(self, **facts: object) -> None:
        """`limit` in bytes, if that of a file is meant; `set_by`, if it is not the setting."""
        if "limit" in facts:
            facts = {"set_by": f"GALLERY_UPLOAD__MAX_BYTES={facts['limit']}", **facts}
        super().__init__(**facts)

    def message(self) -> str:
        return super().message() if "limit" in self.facts else self.sentence()


class LongerThanSaid(TooLarge):
    """More bytes arrived than the upload was said to have."""

    hint = "It was said to have {size:,} bytes."

    def message(self) -> str:
        return GalleryError.message(self)


class ShorterThanSaid(Rejected):
    """Fewer bytes arrived than the part has."""

    hint = "It has {size:,} bytes, and {received:,} arrived; send all of them."


class UploadCompleted(Rejected):
    """This upload is complete: nothing can be appended to it."""


class InconsistentLength(Rejected):
    """The requests of this upload do not fit its length."""

    hint = "It has {length:,} bytes, by what was said before or by the Content-Length."


class NotAChunk(Rejected):
    """The bytes of an upload must have the content type application/offset+octet-stream."""


class TooManyAttempts(Rejected):
    """This upload was interrupted too often; begin a new one."""


class ChecksumMismatch(Rejected):
    """The bytes of this request do not have the checksum that it names; none of them were kept."""


class TusVersionNotSupported(Rejected):
    """The request must name a version of tus that this server supports."""

    hint = "Send Tus-Resumable: {version}."


class MethodNotOverridable(Rejected):
    """X-HTTP-Method-Override must be PATCH or DELETE here."""


class DigestMismatch(Rejected):
    """The bytes that arrived are not those that the digest was made of."""

    hint = "They have the SHA-256 {received}; the request says {expected}."


class QuotaExceeded(Rejected):
    """This file would exceed your storage quota."""

    hint = "It has {size:,} bytes; all originals together may have {limit:,} (GALLERY_UPLOAD__QUOTA_BYTES={limit})."


class TooSlow(Rejected):
    """The request arrives too slowly."""

    hint = "GALLERY_SERVE__HEADER_TIMEOUT, __MIN_BODY_RATE and __BODY_GRACE set the limits."


class HeadersTooLarge(RuleBroken):
    """The request headers are too large."""


class TooManyRequests(Busy):
    """Too many requests."""

    hint = "The limit is {requests} {kind} in {seconds} seconds ({setting}); try again in {retry} seconds."


class TooManyStreams(Busy):
    """This caller has too many open streams; close one, or try again later."""

    hint = "The limit is {limit} (GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER)."


class TooManyUploads(Busy):
    """This caller has too many uploads under way; end or cancel one, or begin another later."""

    hint = "The limit is {limit:,} (GALLERY_UPLOAD__MAX_UNDER_WAY); one that does not move for a day is forgotten."


class PictureBudgetSpent(Busy):
    """This caller's pictures on demand have taken all the rendering time that it has for now."""

    hint = "It has {seconds:g} seconds of rendering a minute (GALLERY_PICTURES__BUDGET); try again in {retry} seconds."


class NotAPicture(Rejected):
    """The file is not a supported picture: JPEG, PNG, GIF, WebP, AVIF or HEIC."""


class EmptyFile(NotAPicture):
    """The file is empty."""

    wire_code = "not_a_picture"


class TypeNotAccepted(Rejected):
    """The upload ticket does not accept pictures of this type."""

    hint = "The file is {type}; the ticket accepts {accepted}."


class TooManyPixels(Rejected):
    """The picture has too many pixels."""

    hint = (
        "It has {pixels:,} ({width} × {height}); at most {limit:,} are accepted (GALLERY_UPLOAD__MAX_PIXELS={limit})."
    )


class SideTooLong(Rejected):
    """The picture is too wide or too high."""

    hint = "It has {width} × {height} pixels; each side may have at most {limit} ({set_by})."


class TooMuchMemory(Rejected):
    """The picture would take too much memory to render."""

    hint = (
        "A {format} of {width} × {height} pixels of this kind takes up to {needed:,} bytes; a renderer has {limit:,} "
        "(GALLERY_WORKER__MEMORY={limit})."
    )


class IdempotencyKeyReused(Rejected):
    """This idempotency key was used for a request with other fields or another file."""


class RangeOutside(Rejected):
    """The requested range is outside the picture."""

    hint = "It has {size} bytes."


class InvalidHeader(Rejected):
    """A request header is not valid."""

    hint = "Expected {header} {expected}."

    def __init__(self, header: str, expected: str) -> None:
        super().__init__(header=header, expected=expected)


class InvalidField(Rejected):
    """A request field is not valid."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(pointer=pointer, detail=detail)
        self.pointer = pointer
        self.detail = detail


# --- pictures that cannot be rendered -------------------------------------------------------------------------------


class DamagedPicture(Rejected):
    """The picture is damaged or incomplete and cannot be read."""


class PictureCannotBeMade(Rejected):
    """This picture cannot be made: its renderer crashed, took too long or ran out of memory, three times."""


class TooManyScans(DamagedPicture):
    """The picture has more scans than any encoder writes."""

    hint = "At most {limit} are accepted; this limit cannot be changed."


class IiifNotSupported(GalleryError):
    """This server does not support this part of the IIIF Image API."""

    hint = "{rule}"

    def __init__(self, rule: str) -> None:
        super().__init__(rule=rule)


class RendererFailed(GalleryError):
    """The picture could not be rendered."""


class RendererCrashed(RendererFailed):
    """The renderer crashed on this picture."""


class RendererTimedOut(RendererFailed):
    """The picture took too long to render."""

    hint = "The deadline is {seconds:g} seconds (GALLERY_WORKER__DEADLINE)."


class RendererOutOfMemory(RendererFailed):
    """The picture took too much memory to render."""

    hint = "A renderer has {limit:,} bytes (GALLERY_WORKER__MEMORY={limit})."


class WorkerLost(GalleryError):
    """Ten workers in a row were lost while they rendered this picture."""


# --- unavailable -------------------------------------------------------------------------------------------------


class DatabaseUnavailable(Unavailable):
    """The database is unavailable; try again later."""

    wire_code = "database_away"


class DatabaseRefused(DatabaseUnavailable):
    """The database refuses this server's credentials; the operator has to correct the settings."""


class ObjectStoreUnavailable(Unavailable):
    """The object store is unavailable; try again later."""

    wire_code = "object_store_away"


class ObjectStoreRefused(ObjectStoreUnavailable):
    """The object store refuses this server's requests; the operator has to correct the settings."""


class BucketMissing(ObjectStoreUnavailable):
    """The object store's bucket does not exist."""


class ObjectTaken(Unavailable):
    """The object store holds another object under this key; try again."""


class ValkeyUnavailable(Unavailable):
    """Valkey is unavailable; try again later."""

    wire_code = "valkey_away"


class ValkeyRefused(ValkeyUnavailable):
    """Valkey refuses this server's credentials; the operator has to correct the settings."""


class RendererUnavailable(Unavailable):
    """No renderer can start at the moment; the picture will be tried again."""

    wire_code = "renderer_away"


class PicturesBusy(Unavailable):
    """As many new pictures as possible are waiting to be made; try again later."""


class PictureNotMade(Unavailable):
    """The picture could not be made; try again later."""


class DumpFailed(Unavailable):
    """A PostgreSQL program has failed."""


class IssuerUnavailable(Unavailable):
    """The token issuer is unavailable; try again later."""

    wire_code = "issuer_away"


class StreamsFull(Unavailable):
    """This server has reached its limit of open streams; try again later."""

    hint = "The limit is {limit} (GALLERY_NOTIFICATIONS__MAX_STREAMS)."


class Overloaded(Unavailable):
    """This server is handling as many requests as it can; try again later."""


class NoRoom(Unavailable):
    """The server has no disk space for another file at the moment; try again later."""


class FileGone(Unavailable):
    """A temporary file has disappeared from the server; try again."""


class ObjectDamaged(Unavailable):
    """The object store returned other bytes than were stored."""


# --- operators' mistakes: the command prints the sentence and ends ----------------------------------------------


class Misconfigured(GalleryError):
    """A setting is not valid."""

    def __init__(self, detail: str) -> None:
        self.detail = masked(detail)
        super().__init__(detail=self.detail)


class CannotStart(Misconfigured):
    """This command cannot start."""


class StartAgain(CannotStart):
    """This server did not start; the cause has been removed, so start it again."""
