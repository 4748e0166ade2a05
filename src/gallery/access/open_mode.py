"""Open mode: everybody may do everything. Never by accident where others can reach us."""

import ipaddress

from gallery.errors import CannotStart
from gallery.settings import AccessSettings, Settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, an address or a name (RFC 6761, 6.3), perhaps with its last dot."""
    name = host.removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def has_jwt_settings(access: AccessSettings) -> bool:
    """Whether somebody has said how bearer tokens are verified."""
    return any((access.jwt_secret, access.jwt_public_key, access.jwks_url))


def is_open(settings: Settings) -> bool:
    """Whether everybody may do everything."""
    if settings.access.open is not None:
        return settings.access.open
    return is_loopback(settings.host) and not has_jwt_settings(settings.access)


def check_open_mode(settings: Settings) -> None:
    """Raises `CannotStart` where we would be open to strangers and nobody has said that we may."""
    access = settings.access
    if access.open is None and not is_loopback(settings.host) and not has_jwt_settings(access):
        raise CannotStart(
            f"GALLERY_HOST is {settings.host}, where others can reach it, and there is no authentication: set "
            "GALLERY_ACCESS__OPEN=false to require API keys, GALLERY_ACCESS__JWT_SECRET (or another JWT setting) to "
            "require bearer tokens, or set GALLERY_ACCESS__OPEN=true to let everybody in."
        )
