"""Who asks, what they may do, and whose images those are."""

from enum import StrEnum
from typing import Any, NewType

from msgspec import Struct

from gallery.errors import CredentialsRequired, GalleryError, ImageNotFound, ScopeMissing

Owner = NewType("Owner", str)

EVERYBODY = Owner("everybody")  # in open mode all images are everybody's
NOBODY = Owner("")  # owns nothing
MOST_OWNER = 200  # characters


class Scope(StrEnum):
    READ = "images:read"
    WRITE = "images:write"
    ADMIN = "admin"


class Kind(StrEnum):
    """By what somebody was let in."""

    OPEN_MODE = "open mode"
    KEY = "key"
    TOKEN = "token"  # noqa: S105  a word
    SESSION = "session"
    TICKET = "ticket"
    LINK = "link"
    STRANGER = "stranger"


class Caller(Struct, frozen=True, kw_only=True):
    """Who stands behind a request."""

    owner: Owner
    scopes: frozenset[Scope] = frozenset()
    kind: Kind = Kind.OPEN_MODE
    expires_at: float | None = None  # seconds since 1970; then the credential, and all that came of it, ends
    key: str | None = None  # the API key that must not be revoked
    signing_key: str | None = None  # of a session, ticket or link: our signing key, which must not be dropped
    image: str | None = None  # of a signed link: the one image that may be read

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def acts_for(self, owner: Owner) -> bool:
        """Whether what belongs to `owner` is theirs to change: an admin acts for everybody."""
        return owner == self.owner != NOBODY or Scope.ADMIN in self.scopes

    @property
    def counted_as(self) -> str | None:
        """Under what name its requests and streams are counted; `None` where its address is all that is known."""
        if self.kind in (Kind.OPEN_MODE, Kind.STRANGER):
            return None
        return f"key:{self.key}" if self.key else f"owner:{self.owner}"

    @property
    def reach(self) -> Owner | None:
        """Whose images they may change; `None` is everybody's."""
        return None if Scope.ADMIN in self.scopes else self.owner

    def sees(self, image: str, owner: Owner, *, public: bool) -> bool:
        """The one question before anything of an image is shown."""
        return public or image == self.image or (self.may(Scope.READ) and self.acts_for(owner))

    def not_seen(self, image: str) -> GalleryError:
        """What to say of an image that they may not see; the same as of one that there is not."""
        if self.kind is Kind.STRANGER:
            return CredentialsRequired(image=image)
        if self.kind is not Kind.LINK and not self.may(Scope.READ):
            return ScopeMissing(Scope.READ)
        return ImageNotFound(image=image)


# In open mode each caller without a credential is this one, which may do everything.
OPEN_MODE_CALLER = Caller(owner=EVERYBODY, scopes=frozenset(Scope))
STRANGER = Caller(owner=NOBODY, kind=Kind.STRANGER)


class Purpose(StrEnum):
    """What a signature of ours is good for."""

    LINK = "link"
    DOWNLOAD = "download"
    SESSION = "session"
    TICKET = "ticket"


class Door(Struct, frozen=True):
    """What a route asks of who wants in."""

    scope: Scope | None  # `None`: any
    known: bool = True  # False: nobody is asked who they are
    public: bool = False  # strangers too may ask, for a public image
    links: tuple[Purpose, ...] = ()  # a link signed for one of these is enough
    ticket: bool = False  # a ticket is enough


def _opt(door: Door) -> dict[str, Any]:
    return {"door": door}


READS = _opt(Door(Scope.READ))
WRITES = _opt(Door(Scope.WRITE))
SHOWS = _opt(Door(Scope.READ, public=True))
SERVES = _opt(Door(Scope.READ, public=True, links=(Purpose.LINK,)))
SERVES_ORIGINAL = _opt(Door(Scope.READ, public=True, links=(Purpose.LINK, Purpose.DOWNLOAD)))
STREAMS = _opt(Door(Scope.READ, ticket=True))
ADMINISTERS = _opt(Door(Scope.ADMIN))
NAMES = _opt(Door(None))
LETS_IN = _opt(Door(None, known=False))
CLOSED = Door(Scope.ADMIN)  # a route that says nothing


def is_owner(text: object) -> bool:
    """Whether that can be an owner's name: printable, not empty, and not without end."""
    return isinstance(text, str) and 0 < len(text) <= MOST_OWNER and text.isprintable()
