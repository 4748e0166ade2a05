"""The image that a request for a picture is about."""

from collections.abc import Mapping
from typing import Any

from gallery.access.authorized import caller_of
from gallery.access.model import Caller
from gallery.images.change_tokens import image_subject
from gallery.images.kept_images import KeptImages
from gallery.images.model import Image, parse_id
from gallery.images.reusable import ResponseKind, declare_subject


async def find_requested(scope: Mapping[str, Any], images: KeptImages, image_id: str) -> tuple[Image, Caller]:
    """The image of the path, and the caller. Raises as `Images.get` does, also if the caller may not see the image."""
    id_, caller = parse_id(image_id), caller_of(scope)
    declare_subject(scope, ResponseKind.PICTURE, image_subject(id_))
    return await images.get(caller, id_), caller
