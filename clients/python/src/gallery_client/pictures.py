"""URLs of pictures on demand, plain and signed. docs/signed-links.md has the rules of signatures."""

import base64
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from gallery_client.models import Focus, Image

NAME = re.compile(r"[A-Za-z]+")
VALUE = re.compile(r"[\w.,-]*", re.ASCII)
WINDOW = 3600  # seconds in which the same picture gets the same URL, so that browsers find it in their caches


def picture_path(image: Image | str, query: str | Mapping[str, object]) -> str:
    """Raises `ValueError` for parameters that no picture has."""
    return _path(image, "&".join(f"{name}={value}" for name, value in _pairs(query)))


def sign(
    *,
    url: str,
    key: str,
    image: Image | str,
    query: str | Mapping[str, object] = "",
    expires_at: int | None = None,
) -> str:
    """The URL of a picture that every client may see until it expires. Calls no server.

    `url` is where Gallery is, `key` a link key (`id:secret`, of `gallery keys links create`), `query` the picture:
    `"w=800&h=600&fit=cover"`, or the same as a mapping; `expires_at` is in seconds since 1970, by default in one to
    two hours. Raises `ValueError` for parameters that no picture has.
    """
    key_id, _, secret = key.partition(":")
    expires = (int(time.time()) // WINDOW + 2) * WINDOW if expires_at is None else expires_at
    parameters = "&".join(f"{name}={value}" for name, value in sorted(_pairs(query)))
    message = f"gallery:picture:1\n{_id(image).lower()}\n{expires}\n{parameters}"
    digest = hmac.digest(_decode(secret), message.encode(), "sha256")
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    separator = "&" if parameters else ""
    signed = f"{parameters}{separator}kid={quote(key_id, safe='')}&exp={expires}&sig={signature}"
    return url.rstrip("/") + _path(image, signed)


def _path(image: Image | str, query: str) -> str:
    return f"/api/v1/images/{quote(_id(image), safe='')}/picture?{query}"


def _id(image: Image | str) -> str:
    return image if isinstance(image, str) else image.id


def _pairs(query: str | Mapping[str, object]) -> list[tuple[str, str]]:
    if isinstance(query, str):
        pairs = parse_qsl(query, keep_blank_values=True)
    else:
        pairs = [(name, _text(value)) for name, value in query.items() if value is not None]
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a parameter is there twice")
    for name, value in pairs:
        if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
            raise ValueError(f"no picture has the parameter {name}={value}")
    return pairs


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case tuple() | list():
            return ",".join(map(_text, value))
        case Focus():
            return str(value)
        case _:
            return str(value)


def _decode(secret: str) -> bytes:
    secret = secret.replace("+", "-").replace("/", "_").rstrip("=")
    return base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
