"""Who asks, what they may do, and whose images those are."""

from enum import StrEnum
from typing import Any, NewType

from msgspec import Struct

from gallery.errors import CredentialsRequired, GalleryError, ImageNotFound, ScopeMissing

Owner = NewType("Owner", str)

SHARED_OWNER = Owner("everybody")  # in open mode all images are everybody's
NO_OWNER = Owner("")  # owns nothing
MAX_OWNER_LENGTH = 200  # characters


class Scope(StrEnum):
    READ = "images:read"
    WRITE = "images:write"
    ADMIN = "admin"


class CredentialKind(StrEnum):
    """By what somebody was let in."""

    OPEN_MODE = "open mode"
    API_KEY = "key"
    TOKEN = "token"  # noqa: S105  a word
    SESSION = "session"
    TICKET = "ticket"
    LINK = "link"
    ANONYMOUS = "stranger"


class Caller(Struct, frozen=True, kw_only=True):
    """Who stands behind a request."""

    owner: Owner
    scopes: frozenset[Scope] = frozenset()
    kind: CredentialKind = CredentialKind.OPEN_MODE
    expires_at: float | None = None  # seconds since 1970; then the credential, and all that came of it, ends
    api_key_id: str | None = None  # the API key that must not be revoked
    signing_key_id: str | None = None  # of a session, ticket or link: our signing key, which must not be dropped
    image_id: str | None = None  # of a signed link: the one image that may be read

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def acts_for(self, owner: Owner) -> bool:
        """Whether what belongs to `owner` is theirs to change: an admin acts for everybody."""
        return owner == self.owner != NO_OWNER or Scope.ADMIN in self.scopes

    @property
    def rate_limit_key(self) -> str | None:
        """Under what name its requests and streams are counted; `None` where its address is all that is known."""
        if self.kind in (CredentialKind.OPEN_MODE, CredentialKind.ANONYMOUS):
            return None
        return f"key:{self.api_key_id}" if self.api_key_id else f"owner:{self.owner}"

    @property
    def owner_filter(self) -> Owner | None:
        """Whose images they may change; `None` is everybody's."""
        return None if Scope.ADMIN in self.scopes else self.owner

    def may_see(self, image: str, owner: Owner, *, public: bool) -> bool:
        """The one question before anything of an image is shown."""
        return public or image == self.image_id or (self.may(Scope.READ) and self.acts_for(owner))

    def not_visible_error(self, image: str) -> GalleryError:
        """What to say of an image that they may not see; the same as of one that there is not."""
        if self.kind is CredentialKind.ANONYMOUS:
            return CredentialsRequired(image=image)
        if self.kind is not CredentialKind.LINK and not self.may(Scope.READ):
            return ScopeMissing(Scope.READ)
        return ImageNotFound(image=image)


# In open mode each caller without a credential is this one, which may do everything.
OPEN_MODE_CALLER = Caller(owner=SHARED_OWNER, scopes=frozenset(Scope))
ANONYMOUS = Caller(owner=NO_OWNER, kind=CredentialKind.ANONYMOUS)


class Purpose(StrEnum):
    """What a signature of ours is good for."""

    LINK = "link"
    DOWNLOAD = "download"
    SESSION = "session"
    TICKET = "ticket"


class RoutePolicy(Struct, frozen=True):
    """What a route asks of who wants in."""

    scope: Scope | None  # `None`: any
    authenticate: bool = True  # False: nobody is asked who they are
    allow_anonymous: bool = False  # strangers too may ask, for a public image
    link_purposes: tuple[Purpose, ...] = ()  # a link signed for one of these is enough
    allow_ticket: bool = False  # a ticket is enough


def _opt(policy: RoutePolicy) -> dict[str, Any]:
    return {"policy": policy}


READ = _opt(RoutePolicy(Scope.READ))
WRITE = _opt(RoutePolicy(Scope.WRITE))
READ_PUBLIC = _opt(RoutePolicy(Scope.READ, allow_anonymous=True))
SERVE = _opt(RoutePolicy(Scope.READ, allow_anonymous=True, link_purposes=(Purpose.LINK,)))
SERVE_ORIGINAL = _opt(RoutePolicy(Scope.READ, allow_anonymous=True, link_purposes=(Purpose.LINK, Purpose.DOWNLOAD)))
STREAM = _opt(RoutePolicy(Scope.READ, allow_ticket=True))
ADMIN = _opt(RoutePolicy(Scope.ADMIN))
AUTHENTICATED = _opt(RoutePolicy(None))
PUBLIC = _opt(RoutePolicy(None, authenticate=False))
DEFAULT_POLICY = RoutePolicy(Scope.ADMIN)  # a route that says nothing


def is_valid_owner(text: object) -> bool:
    """Whether that can be an owner's name: printable, not empty, and not without end."""
    return isinstance(text, str) and 0 < len(text) <= MAX_OWNER_LENGTH and text.isprintable()
