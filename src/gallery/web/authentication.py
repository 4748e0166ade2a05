"""The caller of a request, authenticated once by the credentials in its headers."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.types import Scope

from gallery.access.api import COOKIE
from gallery.access.authorized import AUTHORIZED_KEY
from gallery.access.model import Caller
from gallery.access.service import Access, Credentials
from gallery.errors import Unauthorized, Unavailable
from gallery.web.routing import extensions

CALLER_KEY = "gallery.caller"  # in the scope's extensions
CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"cookie"})
NO_CREDENTIALS = Credentials()


async def authenticated_caller(access: Access, scope: Scope) -> Caller:
    """The caller, or `ANONYMOUS` for a request without credentials. Raises `CredentialNotValid`, `Unavailable`.

    The rate limiter asks first, to count the request for its caller. The auth guard gets the same result again, an
    error included, so that a credential is verified once per request.
    """
    found = extensions(scope)
    if CALLER_KEY not in found:
        try:
            found[CALLER_KEY] = await access.authenticate(credentials_of(scope))
        except (Unauthorized, Unavailable) as error:
            found[CALLER_KEY] = error
    result: Caller | Unauthorized | Unavailable = found[CALLER_KEY]
    if isinstance(result, Caller):
        return result
    raise result


def set_authorized(scope: Scope, caller: Caller) -> None:
    """The auth guard lets this caller pass."""
    extensions(scope)[AUTHORIZED_KEY] = caller


def callers_of(scope: Scope) -> list[Caller]:
    """The caller that the auth guard has let pass, and the one of the headers, under which the request was counted.

    Empty for a refused request, and for one with a link and invalid credentials beside it.
    """
    found = extensions(scope)
    if AUTHORIZED_KEY not in found:
        return []
    callers = [found[AUTHORIZED_KEY], found.get(CALLER_KEY, found[AUTHORIZED_KEY])]
    return callers if all(isinstance(caller, Caller) for caller in callers) else []


def credentials_of(scope: Scope) -> Credentials:
    if not any(name in CREDENTIAL_HEADERS for name, _ in scope["headers"]):
        return NO_CREDENTIALS
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return Credentials(
        bearer=text.strip() if scheme.lower() == "bearer" else None,
        api_key=connection.headers.get("x-api-key"),
        session=connection.cookies.get(COOKIE),
        upload_ticket=text.strip() if scheme.lower() == "upload" else None,
    )
