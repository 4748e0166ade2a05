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
FORWARDED_PAIR = re.compile(rf'[ \t]*({TOKEN})=({TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*(;|,|$)')
FORWARDED, FORWARDED_FOR, FORWARDED_PROTO = b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"


class ProxyHeaders:
    """Puts the client's own address and scheme into the scope, when a trusted proxy has asked us for it."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and self._trusted:
            self._apply_headers(scope)
        await self._app(scope, receive, send)

    def _apply_headers(self, scope: HTTPScope) -> None:
        peer = parse_address(scope["client"][0]) if scope["client"] else None
        if peer is None or not is_trusted(self._trusted, peer):
            return
        elements = parse_forwarded(_header_value(scope, FORWARDED))
        lists = [element.get("for", "") for element in elements], _split_list(_header_value(scope, FORWARDED_FOR))
        clients = {resolve_client(peer, hops, self._trusted) for hops in lists if hops}
        if len(clients) == 1:
            scope["client"] = (str(clients.pop()), 0)
        protocols = _split_list(_header_value(scope, FORWARDED_PROTO)) or [
            element.get("proto", "") for element in elements
        ]
        if protocols and protocols[-1].lower() in ("http", "https"):
            scope["scheme"] = protocols[-1].lower()


def resolve_client(peer: Address, hops: Sequence[str], trusted: Sequence[Network]) -> Address:
    """The last of `hops` that is no trusted proxy; where one cannot be read, the proxy that has said so."""
    address_so_far = peer
    for hop in reversed(hops):
        if not is_trusted(trusted, address_so_far):
            break
        parsed = parse_address(hop)
        if parsed is None:
            break
        address_so_far = parsed
    return address_so_far


def is_trusted(trusted: Sequence[Network], address: Address) -> bool:
    return any(address in network for network in trusted)


def parse_address(text: str) -> Address | None:
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


def parse_forwarded(value: str) -> list[dict[str, str]]:
    """The elements of a `Forwarded` header, each with its parameters; an empty one for a header that is malformed."""
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    position, end = 0, ","
    while value.strip() and end:
        match = FORWARDED_PAIR.match(value, position)
        if match is None:
            return [{}]  # somebody has said something: that is not the same as nothing
        name, token, end = match.groups()
        element[name.lower()] = re.sub(r"\\(.)", r"\1", token[1:-1]) if token.startswith('"') else token
        position = match.end()
        if end != ";":
            elements.append(element)
            element = {}
    return elements


def _split_list(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")] if value.strip() else []


def _header_value(scope: HTTPScope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
