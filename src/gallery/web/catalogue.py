"""Each problem code that a client can receive, with its status, sentence and remedy. Shown at `/api/errors`."""

from collections.abc import Iterator

from msgspec import Struct

from gallery import errors
from gallery.errors import GalleryError
from gallery.web.problems import FRAMEWORK_DETAILS, STATUS_BY_ERROR, status_of_type

COMMAND_ERRORS = (  # raised in operators' commands only
    errors.BackupDamaged,
    errors.BackupForeign,
    errors.BackupNotFound,
    errors.BackupUnderWay,
    errors.DumpFailed,
    errors.ForeignStore,
    errors.KeyNotFound,
    errors.Misconfigured,
    errors.RemovedMeanwhile,
)
IMAGE_ERRORS = (errors.DamagedPicture, errors.RendererFailed, errors.WorkerLost)  # appear in an image's `error`
ASK_OPERATOR = "Ask the operator to run gallery doctor, which names the wrong setting."
CORRECT_REQUEST = "Correct the request; an unchanged one will be refused again."
RETRY_LATER = "Send the same request again after the number of seconds in Retry-After."
REMEDIES: dict[type[GalleryError], str] = {
    errors.NotFound: "Check the path and the id. Other owners' images and deleted images also give this error.",
    errors.Conflict: "Read the current state, then decide again.",
    errors.Forbidden: CORRECT_REQUEST,
    errors.Rejected: CORRECT_REQUEST,
    errors.Busy: RETRY_LATER,
    errors.Unavailable: RETRY_LATER,
    errors.DatabaseRefused: ASK_OPERATOR,
    errors.ObjectStoreRefused: ASK_OPERATOR,
    errors.ValkeyRefused: ASK_OPERATOR,
    errors.VersionMismatch: "Read the image again, and send its new ETag in If-Match.",
    errors.StillInFlight: RETRY_LATER,
    errors.StillProcessing: "Wait until the image is READY or FAILED.",
    errors.ForeignHost: "Use the host name 127.0.0.1 or localhost. The operator can set GALLERY_ACCESS__OPEN.",
    errors.ForeignOrigin: "Ask the operator to add the page's origin to CORS_ORIGIN.",
    errors.ScopeMissing: "Use a credential with this scope. For JWTs see GALLERY_ACCESS__JWT_SCOPE_CLAIM.",
    errors.UploadTicketNotEnough: "Make this call from your own server, with an API key or a JWT.",
    errors.UploadTicketUsedUp: "Get a new ticket from your own server: POST /api/v1/uploads/ticket.",
    errors.LinkNotValid: "Request new links: POST /api/v1/images/{id}/links.",
    errors.CredentialsRequired: "Send an API key or a JWT as Authorization: Bearer.",
    errors.CredentialNotValid: "Use another API key, sign in again, or get a new ticket.",
    errors.TokenNotValid: "Get a new token.",
    errors.TokenMalformed: "Send the JWT itself; an opaque access token is not a JWT.",
    errors.TokenAlgorithmRefused: "Check GALLERY_ACCESS__JWT_ALGORITHMS, and whether a secret or public keys are set.",
    errors.TokenSignatureInvalid: "Check that GALLERY_ACCESS__JWKS_URL (or the secret) belongs to the token's issuer.",
    errors.TokenExpired: "Get a new token, and send the request again.",
    errors.TokenNotYetValid: "Check the clocks of both servers; GALLERY_ACCESS__CLOCK_SKEW is the allowed difference.",
    errors.TokenAudienceWrong: "Ask the identity provider for a token with the audience of this server.",
    errors.TokenAudienceNotSet: "Set GALLERY_ACCESS__JWT_AUDIENCE.",
    errors.TokenIssuerWrong: "Compare iss with GALLERY_ACCESS__JWT_ISSUER, character by character.",
    errors.TokenClaimMissing: "Add the claim at the identity provider, or name another claim in the settings.",
    errors.TokenClaimInvalid: "Correct the claim at the identity provider, or name another claim in the settings.",
    errors.RuleBroken: "Correct the request as the detail says; an unchanged one will be refused again.",
    errors.MalformedBody: "Correct the request as the detail says. For a wrong Content-Type the status is 415.",
    errors.DigestMismatch: "Send the file again; if that does not help, compute the SHA-256 of its bytes anew.",
    errors.TooManyAttempts: "Begin a new upload.",
    errors.TooLarge: "Send a smaller file. The operator can raise GALLERY_UPLOAD__MAX_BYTES.",
    errors.QuotaExceeded: "Delete images. The operator can raise GALLERY_UPLOAD__QUOTA_BYTES.",
    errors.TooManyPixels: "Send a smaller picture. The operator can raise GALLERY_UPLOAD__MAX_PIXELS.",
    errors.SideTooLong: "Send a smaller picture. The operator can raise GALLERY_UPLOAD__MAX_SIDE.",
    errors.TooMuchMemory: "Send a smaller picture. The operator can raise GALLERY_WORKER__MEMORY.",
    errors.NotAPicture: "Send a file in one of these formats. Only its content counts, not its name or declared type.",
    errors.TypeNotAccepted: "Send a picture of a type that the ticket accepts. Only the file's content counts.",
    errors.IdempotencyKeyReused: "Use a new key for each new upload.",
    errors.TooManyUploads: "Go on with an upload that you have begun, or cancel it by DELETE.",
    errors.TooManyStreams: "Close a stream, or try again after the number of seconds in Retry-After.",
    errors.RangeOutside: "Request a range within the size that Content-Range gives.",
    errors.TooSlow: "Send the request again over a faster connection.",
    errors.DamagedPicture: "Send the picture again from an intact file.",
    errors.RendererFailed: "Request another attempt: POST /api/v1/images/{id}/reprocess.",
    errors.WorkerLost: "Request another attempt: POST /api/v1/images/{id}/reprocess.",
}
FRAMEWORK_ENTRIES = [
    ("not_found", 404, FRAMEWORK_DETAILS[404], "Check the path."),
    ("method_not_allowed", 405, FRAMEWORK_DETAILS[405], "Use one of the methods in Allow."),
    ("internal_error", 500, FRAMEWORK_DETAILS[500], "Ask the operator: the log has the cause next to the requestId."),
]


class Entry(Struct, frozen=True):
    """`status` is `None` for a code that appears only in an image's `error` or timeline."""

    code: str
    status: int | None
    sentence: str
    remedy: str


def catalogue() -> list[Entry]:
    """All entries by status and code; codes without a status come last."""
    entries = [_entry(kind) for kind in _subclasses(GalleryError) if _is_public(kind)]
    return sorted([*entries, *(Entry(*row) for row in FRAMEWORK_ENTRIES)], key=lambda e: (e.status or 600, e.code))


def _subclasses(kind: type[GalleryError]) -> Iterator[type[GalleryError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


def _is_public(kind: type[GalleryError]) -> bool:
    """Whether clients can receive the code: not a branch of the tree, which is never raised itself, nor a command's.

    A code of several classes is the entry of the first.
    """
    branch = (GalleryError in kind.__bases__ and kind in STATUS_BY_ERROR) or kind is errors.RuleBroken
    shared = any(base.code() == kind.code() for base in kind.__bases__ if issubclass(base, GalleryError))
    return kind.__module__ == errors.__name__ and not (branch or shared or issubclass(kind, COMMAND_ERRORS))


def _entry(kind: type[GalleryError]) -> Entry:
    remedy = next(REMEDIES[base] for base in kind.__mro__ if base in REMEDIES)
    return Entry(kind.code(), None if issubclass(kind, IMAGE_ERRORS) else status_of_type(kind), kind.sentence(), remedy)
