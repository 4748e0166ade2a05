"""Who is at the other end: the client's address and scheme, by the word of proxies that the operator trusts.

`Forwarded` (RFC 7239) and `X-Forwarded-For` are lists to which each proxy adds whom it was asked by. We walk them from
our end: the first address that is no trusted proxy's is the client's, and whatever stands to its left was written by
nobody we know. Most proxies care for one of the two headers and pass the other on as the client has sent it; so where
both are there and do not agree, neither is believed.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gallery.settings import Network

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  of RFC 9110
PAIR = re.compile(rf'[ \t]*({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*(;|,|$)')
FORWARDED, FORWARDED_FOR, FORWARDED_PROTO = b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"


class Proxies:
    """Puts the client's own address and scheme into the scope, when a trusted proxy has asked us for it."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and self._trusted:
            self._see_through(scope)
        await self._app(scope, receive, send)

    def _see_through(self, scope: HTTPScope) -> None:
        peer = address(scope["client"][0]) if scope["client"] else None
        if peer is None or not trusts(self._trusted, peer):
            return
        elements = forwarded(_value(scope, FORWARDED))
        lists = [element.get("for", "") for element in elements], _words(_value(scope, FORWARDED_FOR))
        said = {client(peer, hops, self._trusted) for hops in lists if hops}
        if len(said) == 1:
            scope["client"] = (str(said.pop()), 0)
        protocols = _words(_value(scope, FORWARDED_PROTO)) or [element.get("proto", "") for element in elements]
        if protocols and protocols[-1].lower() in ("http", "https"):
            scope["scheme"] = protocols[-1].lower()


def client(peer: Address, hops: Sequence[str], trusted: Sequence[Network]) -> Address:
    """The last of `hops` that is no trusted proxy; where one cannot be read, the proxy that has said so."""
    found = peer
    for hop in reversed(hops):
        if not trusts(trusted, found):
            break
        said = address(hop)
        if said is None:
            break
        found = said
    return found


def trusts(trusted: Sequence[Network], address: Address) -> bool:
    return any(address in network for network in trusted)


def address(text: str) -> Address | None:
    """An address, perhaps with a port; `None` for what is none, such as `unknown` or `_hidden`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def forwarded(value: str) -> list[dict[str, str]]:
    """The elements of a `Forwarded` header, each with its parameters; an empty one for a header that is malformed."""
    found: list[dict[str, str]] = []
    element: dict[str, str] = {}
    place, end = 0, ","
    while value.strip() and end:
        match = PAIR.match(value, place)
        if match is None:
            return [{}]  # somebody has said something: that is not the same as nothing
        name, word, end = match.groups()
        element[name.lower()] = re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
        place = match.end()
        if end != ";":
            found.append(element)
            element = {}
    return found


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")] if value.strip() else []


def _value(scope: HTTPScope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
