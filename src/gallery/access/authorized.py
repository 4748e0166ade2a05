"""The caller that the auth guard has let pass, in the scope of its request."""

from collections.abc import Mapping
from typing import Any

from gallery.access.model import Caller

AUTHORIZED_KEY = "gallery.authorized"  # in the scope's extensions


def caller_of(scope: Mapping[str, Any]) -> Caller:
    caller: Caller = scope["extensions"][AUTHORIZED_KEY]
    return caller
