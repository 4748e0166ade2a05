"""Everything that can go wrong, in one tree.

The branch says how an edge answers (HTTP status, retry or not, exit code), the leaf says what happened. A leaf's
docstring is the sentence that a client reads, and `hint` a second one that may name facts of the case: a limit, a
setting, a scope. Its `code` is the class name in snake case; all other `facts` are for the log alone.
"""

import re
from enum import Enum
from typing import ClassVar

from gallery.masking import masked

MAX_ECHOED = 100  # characters of a client's own text in an answer


class GalleryError(Exception):
    """Something went wrong."""

    wire_code: ClassVar[str] = ""  # where the code on the wire is older than the name of the class
    hint: ClassVar[str] = ""  # a format string; each name in it is a fact that every instance has

    def __init__(self, **facts: object) -> None:
        super().__init__(type(self).__name__)
        self.facts = facts

    def __str__(self) -> str:
        facts = masked(" ".join(f"{name}={_plain(value)!r}" for name, value in self.facts.items()))
        return f"{self.code()}: {facts}" if facts else self.code()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.facts)  # facts survive the way home from a renderer process

    @classmethod
    def code(cls) -> str:
        own: str = cls.__dict__.get("wire_code", "")
        return own or re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def sentence(cls) -> str:
        return " ".join((cls.__doc__ or "").split("\n\n")[0].split())

    def message(self) -> str:
        """The sentence and the hint, as this case's client reads them."""
        return f"{self.sentence()} {type(self).hint.format_map(self.facts)}".rstrip()


def describe_error(error: BaseException) -> str:
    """An exception for a log line: its kind in words instead of its class, and its message."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type(error).__name__)
    kind, text = words.removesuffix("Error").strip().lower(), " ".join(str(error).split())
    return ": ".join(part for part in ("" if type(error) is OSError else kind, text) if part)


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _rebuild(kind: type[GalleryError], facts: dict[str, object]) -> GalleryError:
    return kind(**facts)


# --- the branches -----------------------------------------------------------------------------------------------


class NotFound(GalleryError):
    """There is nothing here under that name."""


class Conflict(GalleryError):
    """What you ask for does not fit the present state."""


class Rejected(GalleryError):
    """The request cannot be accepted as it is."""


class Forbidden(GalleryError):
    """You may not do this."""


class Unauthorized(GalleryError):
    """You have to say who you are."""


class Busy(GalleryError):
    """Too much at once; please come back later."""


class Unavailable(GalleryError):
    """A server that we need is away; please try again."""


# --- not found, conflict, forbidden --------------------------------------------------------------------------------


class ImageNotFound(NotFound):
    """There is no image with this id."""


class RenditionNotFound(NotFound):
    """This image has no such rendition."""


class ObjectNotFound(NotFound):
    """The object store does not hold this key."""


class BackupNotFound(NotFound):
    """There is no such backup at this place."""


class JobNotFound(NotFound):
    """There is no failed job with this id."""


class NotFailed(Conflict):
    """The image is not FAILED, or has been dropped already."""


class VersionMismatch(Conflict):
    """The image has changed since you read it."""

    hint = "Its version is {version} now: read it again, and send its new ETag in If-Match."


class StillInFlight(Conflict):
    """A request with this idempotency key is still being answered; please try again in a moment."""


class StillProcessing(Conflict):
    """The image is in flight already; ask again when it is READY or FAILED."""


class ForeignStore(Conflict):
    """The object store belongs to another Gallery installation."""


class StoreClosed(ForeignStore):
    """The objects have moved from this object store to another one."""


class BackupUnderWay(Conflict):
    """Another backup of this Gallery is under way."""


class BackupForeign(Conflict):
    """There are backups of another Gallery at this place."""


class BackupDamaged(Conflict):
    """The backup is damaged."""


class RemovedMeanwhile(Conflict):
    """An object was removed while it was to be copied: run the backup again, it goes on where it was."""


class ForeignHost(Forbidden):
    """This Gallery is open to its own machine only, and the request names another host."""

    hint = 'The setting GALLERY_ACCESS__OPEN says for whom Gallery is open; the host is "{host}".'

    def __init__(self, host: str) -> None:
        super().__init__(host=host[:MAX_ECHOED])


class ForeignOrigin(Forbidden):
    """Pages of another origin may not write here."""

    hint = "The setting CORS_ORIGIN lists the origins that may, and {origin} is not among them."

    def __init__(self, origin: str) -> None:
        super().__init__(origin=origin[:MAX_ECHOED])


class ScopeMissing(Forbidden):
    """The credential lacks a scope."""

    hint = "This call needs the scope {scope}."

    def __init__(self, scope: str) -> None:
        super().__init__(scope=scope)
        self.scope = scope


class LinkNotValid(Forbidden):
    """The link is not valid, or not any more."""


class CredentialsRequired(Unauthorized):
    """This needs a credential: an API key, a bearer token or a session."""


class CredentialNotValid(Unauthorized):
    """The credential is not valid, or not any more."""


class TokenNotValid(CredentialNotValid):
    """The token is not valid."""


class TokenMalformed(TokenNotValid):
    """The token is not a signed JWT."""


class TokenAlgorithmRefused(TokenNotValid):
    """The token is signed by an algorithm that this server does not accept."""


class TokenSignatureInvalid(TokenNotValid):
    """The token's signature does not fit any key that this server trusts."""


class TokenExpired(TokenNotValid):
    """The token has expired."""


class TokenNotYetValid(TokenNotValid):
    """The token is not valid yet: its nbf or iat claim lies in the future."""


class TokenAudienceWrong(TokenNotValid):
    """The token's aud claim does not name this server."""


class TokenAudienceNotSet(TokenAudienceWrong):
    """The token has an aud claim, and this server has no audience set."""

    hint = "Its setting GALLERY_ACCESS__JWT_AUDIENCE names the accepted audience."


class TokenIssuerWrong(TokenNotValid):
    """The token's iss claim does not name the issuer that this server trusts."""


class TokenClaimMissing(TokenNotValid):
    """The token lacks a claim."""

    hint = "This server needs the claim {claim}."


class TokenClaimInvalid(TokenNotValid):
    """A claim of the token has a value that this server cannot use."""

    hint = "The claim is {claim}."


class KeyNotFound(NotFound):
    """There is no API key with this id that is not revoked."""


# --- rejected at the front door ----------------------------------------------------------------------------------


class RuleBroken(Rejected):
    """The request breaks a rule."""

    hint = "{rule}"

    def __init__(self, rule: str, **facts: object) -> None:
        """`rule` is a sentence for the client, with nothing of what it has sent."""
        super().__init__(rule=rule, **facts)


class MalformedRequest(RuleBroken):
    """The request is not valid HTTP."""


class MalformedHost(MalformedRequest):
    """The request does not name exactly one valid host."""


class MalformedBody(RuleBroken):
    """The request's body cannot be read."""


class TooLarge(Rejected):
    """The file, or the request's body, is larger than we accept."""

    hint = "At most {limit:,} bytes of a file are accepted (GALLERY_UPLOAD__MAX_BYTES={limit})."

    def message(self) -> str:
        return super().message() if "limit" in self.facts else self.sentence()


class QuotaExceeded(Rejected):
    """With this file your pictures would take more room than you have."""

    hint = "It has {size:,} bytes; all together may have {limit:,} (GALLERY_UPLOAD__QUOTA_BYTES={limit})."


class TooSlow(Rejected):
    """The request arrives too slowly."""

    hint = "The settings GALLERY_SERVE__HEADER_TIMEOUT, __MIN_BODY_RATE and __BODY_GRACE say how fast it has to be."


class HeadersTooLarge(RuleBroken):
    """The request's headers are too large."""


class TooManyRequests(Busy):
    """Too many requests; please come back later."""

    hint = "The limit is {requests} {kind} in {seconds} seconds ({setting}); the next is let in after {retry} seconds."


class TooManyStreams(Busy):
    """This caller has too many streams open; close one, or come back later."""

    hint = "The limit is {limit}, by the setting GALLERY_NOTIFICATIONS__MAX_STREAMS_PER_CALLER."


class NotAPicture(Rejected):
    """The file is not a picture we take: JPEG, PNG, GIF, WebP, AVIF or HEIC."""


class TooManyPixels(Rejected):
    """The picture has more pixels than we accept."""

    hint = (
        "It has {pixels:,} ({width} × {height}); at most {limit:,} are accepted (GALLERY_UPLOAD__MAX_PIXELS={limit})."
    )


class SideTooLong(Rejected):
    """The picture is wider or higher than we accept."""

    hint = "It has {width} × {height} pixels; at most {limit} are accepted a side ({set_by})."


class TooMuchMemory(Rejected):
    """The picture takes more memory to render than we allow."""

    hint = (
        "A {format} of {width} × {height} pixels of this kind takes up to {needed:,} bytes; a renderer has {limit:,} "
        "(GALLERY_WORKER__MEMORY={limit})."
    )


class IdempotencyKeyReused(Rejected):
    """This idempotency key belongs to another request: other fields, or another file."""


class RangeOutside(Rejected):
    """The picture ends before the part that you ask for."""

    hint = "It has {size} bytes."


class InvalidHeader(Rejected):
    """A header of the request cannot be read."""

    hint = "Expected {header} {expected}."

    def __init__(self, header: str, expected: str) -> None:
        super().__init__(header=header, expected=expected)


class InvalidField(Rejected):
    """A field of the request is not valid."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(pointer=pointer, detail=detail)
        self.pointer = pointer
        self.detail = detail


# --- a picture that cannot be rendered ------------------------------------------------------------------------------


class DamagedPicture(Rejected):
    """The picture is damaged or incomplete and cannot be read."""


class TooManyScans(DamagedPicture):
    """The picture has more scans than any encoder writes."""

    hint = "At most {limit} are accepted, which is no setting."


class RendererFailed(GalleryError):
    """The picture could not be rendered."""


class RendererCrashed(RendererFailed):
    """The picture made its renderer crash."""


class RendererTimedOut(RendererFailed):
    """The picture took too long to render."""

    hint = "The deadline is {seconds:g} seconds (GALLERY_WORKER__DEADLINE)."


class RendererOutOfMemory(RendererFailed):
    """The picture took too much memory to render."""

    hint = "A renderer has {limit:,} bytes (GALLERY_WORKER__MEMORY={limit})."


class WorkerLost(GalleryError):
    """The workers that rendered this picture were lost, ten times in a row."""


# --- away --------------------------------------------------------------------------------------------------------


class DatabaseUnavailable(Unavailable):
    """The database is away; please try again."""

    wire_code = "database_away"


class DatabaseRefused(DatabaseUnavailable):
    """The database refuses the credentials of this server, and its operator has to correct the settings."""


class ObjectStoreUnavailable(Unavailable):
    """The object store is away; please try again."""

    wire_code = "object_store_away"


class ObjectStoreRefused(ObjectStoreUnavailable):
    """The object store refuses the requests of this server, and its operator has to correct the settings."""


class BucketMissing(ObjectStoreUnavailable):
    """The object store's bucket does not exist."""


class ObjectTaken(Unavailable):
    """The object store holds something else under a key of ours; please try again."""


class ValkeyUnavailable(Unavailable):
    """Valkey is away; please try again."""

    wire_code = "valkey_away"


class ValkeyRefused(ValkeyUnavailable):
    """Valkey refuses the credentials of this server, and its operator has to correct the settings."""


class RendererUnavailable(Unavailable):
    """No renderer can be started at the moment; the picture is tried again."""

    wire_code = "renderer_away"


class DumpFailed(Unavailable):
    """A program of PostgreSQL's has failed."""


class IssuerUnavailable(Unavailable):
    """The issuer of your token is away; please try again."""

    wire_code = "issuer_away"


class StreamsFull(Unavailable):
    """This server has as many streams open as it can hold; please try again later."""

    hint = "The limit is {limit}, by the setting GALLERY_NOTIFICATIONS__MAX_STREAMS."


class Overloaded(Unavailable):
    """This server has as many requests under way as it can hold; please try again."""


class NoRoom(Unavailable):
    """This machine has no room for another file at the moment; please try again."""


class FileGone(Unavailable):
    """A file that we were working on has gone from this machine; please try again."""


class ObjectDamaged(Unavailable):
    """The object store gave back other bytes than it was given."""


# --- operators' mistakes: the command says so and ends ----------------------------------------------------------


class Misconfigured(GalleryError):
    """A setting is not valid."""

    def __init__(self, detail: str) -> None:
        self.detail = masked(detail)
        super().__init__(detail=self.detail)


class CannotStart(Misconfigured):
    """This command cannot start."""


class StartAgain(CannotStart):
    """This server did not start, and the cause is out of the way: start it once more."""
