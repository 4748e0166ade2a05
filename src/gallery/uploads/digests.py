"""The SHA-256 that a client says its file has: a field in hex, or a header (RFC 9530)."""

import re
from collections.abc import Sequence
from typing import Any

import http_sf

from gallery.errors import InvalidField, InvalidHeader

SHA256_FIELD = "sha256"
SHA256_HEX = re.compile(r"[0-9a-fA-F]{64}")
DIGEST_HEADERS = ("Repr-Digest", "Content-Digest")  # of a raw body the same: it is whole, and has no coding
SHA256_BYTES = 32
MAX_HEADER_LENGTH = 1000  # characters; all registered algorithms together have fewer


def parse_sha256(text: str) -> str:
    """The digest in lower case. Raises `InvalidField`."""
    if SHA256_HEX.fullmatch(text) is None:
        raise InvalidField(f"/{SHA256_FIELD}", "must be 64 hexadecimal digits")
    return text.lower()


def parse_digest_header(name: str, values: Sequence[str]) -> str | None:
    """The SHA-256 in the values of the header `name`, in hex; `None` if they have other algorithms only.

    Raises `InvalidHeader`.
    """
    value = ", ".join(values)
    if len(value) > MAX_HEADER_LENGTH:
        raise _invalid(name)
    try:
        digests: Any = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except http_sf.StructuredFieldError:
        raise _invalid(name) from None
    if "sha-256" not in digests:
        return None
    digest, _ = digests["sha-256"]  # its type is wider: that of any structured field
    if not isinstance(digest, bytes) or len(digest) != SHA256_BYTES:
        raise _invalid(name)
    return digest.hex()


def _invalid(name: str) -> InvalidHeader:
    return InvalidHeader(name, "as in RFC 9530: sha-256=:…:, the base64 of 32 bytes between colons")
