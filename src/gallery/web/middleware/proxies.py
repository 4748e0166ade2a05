"""The client's address and scheme, as proxies report them that the operator trusts (`GALLERY_PROXIES`).

`Forwarded` (RFC 7239) and `X-Forwarded-For` are lists to which each proxy appends the address of its client. They are
read from the right: the first address that is not a trusted proxy's is the client's, and all to its left is unverified.
Most proxies write one of the two headers and pass the other on as the client has sent it; so where both are present and
disagree, neither is used.
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


class Proxies:
    """The proxies that the operator trusts."""

    def __init__(self, trusted: Sequence[Network]) -> None:
        self._trusted = trusted

    @property
    def any(self) -> bool:
        return bool(self._trusted)

    def resolve(self, scope: HTTPScope) -> tuple[tuple[str, int] | None, str]:
        """The address and port of the client itself, and the scheme of its request."""
        client, scheme = scope["client"], scope["scheme"]
        peer = parse_address(client[0]) if client and self._trusted else None
        if peer is None or not is_trusted(self._trusted, peer):
            return client, scheme
        elements = parse_forwarded(_header_value(scope, FORWARDED))
        lists = [element.get("for", "") for element in elements], _split_list(_header_value(scope, FORWARDED_FOR))
        clients = {resolve_client(peer, hops, self._trusted) for hops in lists if hops}
        if len(clients) == 1:
            client = (str(clients.pop()), 0)
        protocols = _split_list(_header_value(scope, FORWARDED_PROTO)) or [
            element.get("proto", "") for element in elements
        ]
        if protocols and protocols[-1].lower() in ("http", "https"):
            scheme = protocols[-1].lower()
        return client, scheme


class ProxyHeaders:
    """Puts the client's own address and scheme into the scope of a request from a trusted proxy."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            scope["client"], scope["scheme"] = self._proxies.resolve(scope)
        await self._app(scope, receive, send)


def resolve_client(peer: Address, hops: Sequence[str], trusted: Sequence[Network]) -> Address:
    """The last of `hops` that is not a trusted proxy; or, if a hop is not an address, the proxy that has added it."""
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
    """The address in `text`, which may have a port; `None` for `unknown`, `_hidden` and the like."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def parse_forwarded(value: str) -> list[dict[str, str]]:
    """The elements of a `Forwarded` header as parameters; one empty element for a malformed header."""
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    position, end = 0, ","
    while value.strip() and end:
        match = FORWARDED_PAIR.match(value, position)
        if match is None:
            return [{}]  # not the same as no header: it disagrees with `X-Forwarded-For`
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
