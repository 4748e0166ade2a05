"""Parsers for settings with network addresses: lists of networks, servers and origins, each read from one text."""

import ipaddress
import re
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> list[Network]:
    """The addresses and networks of a comma list. Raises `ValueError`."""
    try:
        return [ipaddress.ip_network(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError:
        raise ValueError("Expected addresses and networks such as 10.0.0.0/8, separated by commas") from None


class ValkeyNodes(Struct, frozen=True):
    """The URLs of one Valkey server, or of some nodes of a cluster, each as `redis://` or `rediss://`."""

    urls: list[str]
    cluster: bool

    @classmethod
    def parse(cls, text: str) -> "ValkeyNodes":
        """From one URL, from `redis+cluster://a,b`, or from a comma list. Raises `ValueError`."""
        scheme, _, rest = text.strip().partition("://")
        if scheme not in ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix"):
            raise ValueError("Expected redis://…, rediss://…, redis+cluster://…, or several of them with commas")
        if not scheme.endswith("+cluster") and "," not in rest:
            if scheme != "unix":
                _check_ports(urlsplit(text.strip()).netloc)
            return cls([text.strip()], cluster=False)
        scheme, login = scheme.removesuffix("+cluster"), rest[: rest.rfind("@", 0, rest.find(",") % len(rest)) + 1]
        hosts = [word.strip().rpartition("://")[2].rpartition("@")[2] for word in rest.split(",")]
        for host in hosts:
            _check_ports(host.partition("/")[0])
        if any(host.partition("/")[2] not in ("", "0") or not host for host in hosts):
            raise ValueError("Expected hosts and ports: a cluster has no database other than 0")
        return cls([f"{scheme}://{login}{host.partition('/')[0]}" for host in hosts], cluster=True)


def parse_postgres_urls(text: str) -> list[str]:
    """The PostgreSQL URLs of a comma list. Raises `ValueError`."""
    found = [word.strip() for word in re.split(r",\s*(?=postgres)", text) if word.strip()]  # hosts may have commas too
    for url in found:
        if not urlsplit(url).netloc:
            raise ValueError("Expected postgresql://… URLs, separated by commas")
        check_postgres_url(url)
    return found


def check_postgres_url(url: str) -> None:
    """Raises `ValueError` unless `url` is a PostgreSQL URL."""
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ValueError("Expected postgresql://…")
    _check_ports(urlsplit(url).netloc)


def parse_base_url(text: str) -> str:
    """A server's base URL, without a slash at its end. Raises `ValueError`."""
    found = parse_web_url(text)
    if "?" in found or "#" in found:
        raise ValueError("Expected a URL without a query (?) and without a fragment (#)")
    return found.rstrip("/")


def parse_web_url(text: str) -> str:
    """An HTTP URL without surrounding blanks; its path is not changed. Raises `ValueError`."""
    found = text.strip()
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(char.isspace() for char in found):
        raise ValueError("Expected https://host or http://host, perhaps with a port and a path")
    _check_ports(parts.netloc)
    return found


def _check_ports(netloc: str) -> None:
    """Raises `ValueError` for a port that is no number, as a library reads a password with an unescaped `/`."""
    for host in netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not (port.isascii() and port.isdigit()):
            raise ValueError("Expected a number as the port; in a password, write / as %2F, # as %23 and ? as %3F")


def parse_origins(text: str) -> frozenset[str]:
    """The origins of a comma list, as browsers send them, or `*` alone. Raises `ValueError`."""
    found = frozenset(word.strip().lower().rstrip("/") for word in text.split(",") if word.strip())
    if "*" in found and len(found) > 1:
        raise ValueError("Expected * alone, or origins without it")
    for origin in found - {"*"}:
        parts = urlsplit(origin)
        if f"{parts.scheme}://{parts.netloc}" != origin or not parts.scheme or not parts.netloc or "@" in origin:
            raise ValueError("Expected origins such as https://app.example.org")
    return found
