"""The JSON of images with signed URLs, made from the JSON that is cached for all callers."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from gallery.access.signed_links import LinkSigner
from gallery.images.schema import RenditionView, original_url, srcset

Fields: TypeAlias = Mapping[str, Raw]  # of an image's JSON, by name


def sign_image(body: bytes, signer: LinkSigner, base: str) -> bytes:
    """The JSON of an image with signed URLs in `renditions`, `srcset` and `original`; `base` as in `image_view`."""
    return msgspec.json.encode(_sign(_IMAGE.decode(body), signer, base))


def sign_list(body: bytes, signer: LinkSigner, base: str) -> bytes:
    """The same for an array of images."""
    return msgspec.json.encode([_sign(fields, signer, base) for fields in _LIST.decode(body)])


def _sign(fields: Fields, signer: LinkSigner, base: str) -> dict[str, Any]:
    image = _TEXT.decode(fields["id"])
    signed = signer.sign(image)
    renditions = [
        msgspec.structs.replace(rendition, url=signed.append_to(rendition.url))
        for rendition in _RENDITIONS.decode(fields["renditions"])
    ]
    original = signed.append_to(original_url(image, base))
    return {**fields, "renditions": renditions, "srcset": srcset(renditions), "original": original}


_IMAGE = msgspec.json.Decoder(dict[str, Raw])
_LIST = msgspec.json.Decoder(list[dict[str, Raw]])
_TEXT = msgspec.json.Decoder(str)
_RENDITIONS = msgspec.json.Decoder(list[RenditionView])
