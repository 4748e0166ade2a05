"""Where Gallery is, and how a connection leads there."""

import ipaddress
from typing import Any

import httpx


def parse_url(url: str) -> httpx.URL:
    """Raises `ValueError`."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is not an address: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ValueError(f"the address of Gallery begins with http:// or https://, unlike {url!r}")
    return parsed


def connection_options(url: str, timeout: httpx.Timeout) -> dict[str, Any]:
    """For a client of httpx. No proxy of the environment (`HTTP_PROXY`) leads to this machine itself.

    Raises `ValueError`.
    """
    if not _is_loopback(parse_url(url).host):
        return {"timeout": timeout}
    return {"timeout": timeout, "trust_env": False, "verify": httpx.create_ssl_context()}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
