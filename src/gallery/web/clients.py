"""The client that a request is counted for."""

from litestar.types import HTTPScope

from gallery.access.authorized import caller_of
from gallery.access.model import CredentialKind
from gallery.web.request_limits import client_address


def client_of(scope: HTTPScope) -> str:
    """The key of the caller's rate limits; its address for a caller without one, and for a credential that others have
    given to it: a signed link, an upload ticket.
    """
    caller = caller_of(scope)
    key = None if caller.kind in (CredentialKind.LINK, CredentialKind.UPLOAD_TICKET) else caller.rate_limit_key
    return key or client_address(scope)
