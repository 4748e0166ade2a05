"""The caller of a request, authenticated once by the credentials in its headers."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.types import Scope

from gallery.access.api import COOKIE
from gallery.access.model import Caller
from gallery.access.service import Access, Credentials
from gallery.errors import Unauthorized, Unavailable
from gallery.web.routing import extensions

CALLER_KEY = "gallery.caller"  # in the scope's extensions


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


def credentials_of(scope: Scope) -> Credentials:
    connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return Credentials(
        bearer=text.strip() if scheme.lower() == "bearer" else None,
        api_key=connection.headers.get("x-api-key"),
        session=connection.cookies.get(COOKIE),
    )
