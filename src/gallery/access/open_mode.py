"""Open mode: callers need no credentials and have all scopes. By default only where just this machine can connect."""

import ipaddress
from functools import lru_cache

from gallery.errors import CannotStart
from gallery.settings import AccessSettings, Settings


@lru_cache(256)  # asked of each request's `Host`
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: an address, or a name (RFC 6761, 6.3), which may end with a dot."""
    name = host.removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def has_jwt_settings(access: AccessSettings) -> bool:
    """Whether a setting says how bearer tokens are verified."""
    return any((access.jwt_secret, access.jwt_public_key, access.jwks_url))


def is_open(settings: Settings) -> bool:
    """Whether open mode is on, by `GALLERY_ACCESS__OPEN` or by default."""
    if settings.access.open is not None:
        return settings.access.open
    return is_loopback(settings.host) and not has_jwt_settings(settings.access)


def check_open_mode(settings: Settings) -> None:
    """Raises `CannotStart` when other machines can connect and no setting decides between open mode and credentials."""
    access = settings.access
    if access.open is None and not is_loopback(settings.host) and not has_jwt_settings(access):
        raise CannotStart(
            f"GALLERY_HOST is {settings.host}, which other machines can reach, and no authentication is set. Set "
            "GALLERY_ACCESS__OPEN=false to require API keys, GALLERY_ACCESS__JWT_SECRET (or another JWT setting) to "
            "accept bearer tokens, or GALLERY_ACCESS__OPEN=true to give everyone full access."
        )
