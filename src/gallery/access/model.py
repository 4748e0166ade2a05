"""Callers, owners and scopes, and the policies of routes."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NewType

from msgspec import Struct

from gallery.errors import CredentialsRequired, GalleryError, ImageNotFound, ScopeMissing

Owner = NewType("Owner", str)

SHARED_OWNER = Owner("everybody")  # of all images in open mode
NO_OWNER = Owner("")  # owns nothing
MAX_OWNER_LENGTH = 200  # characters


class Scope(StrEnum):
    READ = "images:read"
    WRITE = "images:write"
    ADMIN = "admin"


class CredentialKind(StrEnum):
    """The credential by which a caller was authenticated."""

    OPEN_MODE = "open mode"
    API_KEY = "key"
    TOKEN = "token"  # noqa: S105  not a secret
    SESSION = "session"
    TICKET = "ticket"
    UPLOAD_TICKET = "upload ticket"
    LINK = "link"
    ANONYMOUS = "anonymous"


class UploadRules(Struct, frozen=True, kw_only=True):
    """What an upload ticket demands of each upload: at most `max_bytes`, one of these MIME types (empty: any), and
    these values of fields (`None`: any). The image has the tags in any case.
    """

    max_bytes: int | None = None
    types: Sequence[str] = ()
    visibility: str | None = None
    tags: Sequence[str] = ()
    lane: str | None = None


class UploadTicket(Struct, frozen=True, kw_only=True):
    """An upload ticket as it was when its request began; `image_ids` are the images that it has uploaded."""

    id: str
    uses_left: int
    rules: UploadRules
    image_ids: frozenset[str]


class Caller(Struct, frozen=True, kw_only=True):
    """The sender of a request: its owner and its scopes."""

    owner: Owner
    scopes: frozenset[Scope] = frozenset()
    kind: CredentialKind = CredentialKind.OPEN_MODE
    expires_at: float | None = None  # seconds since 1970; then the credential and all streams opened by it end
    api_key_id: str | None = None  # all ends when this API key is revoked
    signing_key_id: str | None = None  # of a session, ticket or link: all ends when this signing key is dropped
    link_key_id: str | None = None  # of a link that another server has signed: it ends when this link key is revoked
    image_id: str | None = None  # of a signed link: the only image that it serves
    upload_ticket: UploadTicket | None = None  # it may upload for its owner, and read what the ticket has uploaded

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def acts_for(self, owner: Owner) -> bool:
        """Whether the caller may change images of `owner`: its own, or all as an admin."""
        return (owner == self.owner != NO_OWNER and self.upload_ticket is None) or Scope.ADMIN in self.scopes

    @property
    def ticket_id(self) -> str | None:
        return None if self.upload_ticket is None else self.upload_ticket.id

    @property
    def only_images(self) -> frozenset[str] | None:
        """Of its owner's images, those that the caller may read; `None`: all of them, if it has `images:read`."""
        return None if self.upload_ticket is None else self.upload_ticket.image_ids

    def has_uploaded(self, image: str) -> bool:
        """Whether its upload ticket has uploaded the image."""
        return self.upload_ticket is not None and image in self.upload_ticket.image_ids

    @property
    def rate_limit_key(self) -> str | None:
        """The key under which its requests and streams are counted; `None`: they are counted by client address."""
        if self.kind in (CredentialKind.OPEN_MODE, CredentialKind.ANONYMOUS):
            return None
        if self.upload_ticket is not None:
            return f"ticket:{self.upload_ticket.id}"
        return f"key:{self.api_key_id}" if self.api_key_id else f"owner:{self.owner}"

    @property
    def upload_group(self) -> str | None:
        """The key under which uploads by all upload tickets of an owner are counted together, beside their own."""
        return None if self.upload_ticket is None else f"tickets:{self.owner}"

    @property
    def logged_as(self) -> str | None:
        """The credential's name in log lines, if it has one."""
        return self.rate_limit_key if self.api_key_id or self.upload_ticket else None

    @property
    def owner_filter(self) -> Owner | None:
        """The owner whose images the caller may change; `None` for all owners."""
        return None if Scope.ADMIN in self.scopes else self.owner

    def may_see(self, image: str, owner: Owner, *, public: bool) -> bool:
        """Whether the caller may see the image; checked before any part of it is returned."""
        if public or image == self.image_id or self.has_uploaded(image):
            return True
        return self.may(Scope.READ) and self.acts_for(owner)

    def not_visible_error(self, image: str) -> GalleryError:
        """The error for an image the caller may not see: the same as for a missing one, to hide that it exists."""
        if self.kind is CredentialKind.ANONYMOUS:
            return CredentialsRequired(image=image)
        if self.kind not in (CredentialKind.LINK, CredentialKind.UPLOAD_TICKET) and not self.may(Scope.READ):
            return ScopeMissing(Scope.READ)
        return ImageNotFound(image=image)


# In open mode, the caller of each request without a credential. It has all scopes.
OPEN_MODE_CALLER = Caller(owner=SHARED_OWNER, scopes=frozenset(Scope))
ANONYMOUS = Caller(owner=NO_OWNER, kind=CredentialKind.ANONYMOUS)


class Purpose(StrEnum):
    """The use of a signature; a signature is not valid for another purpose."""

    LINK = "link"
    DOWNLOAD = "download"
    PICTURE = "picture"
    PART = "part"
    SESSION = "session"
    TICKET = "ticket"


class RoutePolicy(Struct, frozen=True):
    """The credentials and the scope that a route requires."""

    scope: Scope | None  # `None`: any authenticated caller
    authenticate: bool = True  # False: credentials are not read
    allow_anonymous: bool = False  # for routes that also serve public images
    link_purposes: tuple[Purpose, ...] = ()  # accepts links signed for one of these
    allow_ticket: bool = False
    allow_upload_ticket: bool = False  # without `scope`; handlers serve it what it has uploaded


def _opt(policy: RoutePolicy) -> dict[str, Any]:
    return {"policy": policy}


def _serve(*link_purposes: Purpose) -> dict[str, Any]:
    return _opt(RoutePolicy(Scope.READ, allow_anonymous=True, link_purposes=link_purposes, allow_upload_ticket=True))


READ = _opt(RoutePolicy(Scope.READ))
WRITE = _opt(RoutePolicy(Scope.WRITE))
READ_UPLOADED = _opt(RoutePolicy(Scope.READ, allow_upload_ticket=True))
UPLOAD = _opt(RoutePolicy(Scope.WRITE, allow_upload_ticket=True))
READ_PUBLIC = _serve()
SERVE = _serve(Purpose.LINK)
SERVE_ORIGINAL = _serve(Purpose.LINK, Purpose.DOWNLOAD)
SERVE_PICTURE = _serve(Purpose.PICTURE)
STREAM = _opt(RoutePolicy(Scope.READ, allow_ticket=True, allow_upload_ticket=True))
ADMIN = _opt(RoutePolicy(Scope.ADMIN))
CHECK = _opt(RoutePolicy(None, allow_upload_ticket=True))
AUTHENTICATED = _opt(RoutePolicy(None))
PUBLIC = _opt(RoutePolicy(None, authenticate=False))
DEFAULT_POLICY = RoutePolicy(Scope.ADMIN)  # of a route without a policy


def is_valid_owner(text: object) -> bool:
    """Whether `text` can name an owner: printable, not empty, at most `MAX_OWNER_LENGTH` characters."""
    return isinstance(text, str) and 0 < len(text) <= MAX_OWNER_LENGTH and text.isprintable()
