"""The responses that several ways of uploading share."""

from typing import Any

from litestar.response import Response

from gallery.access.model import Caller
from gallery.images.schema import JSON
from gallery.images.service import Images
from gallery.uploads import schema
from gallery.uploads.model import Upload
from gallery.uploads.tickets import having_uploaded

NO_STORE = {"Cache-Control": "no-store"}


def outcome_headers(upload: Upload, base: str) -> dict[str, str]:
    """The image of an upload that has ended with one, for clients that read no body."""
    if upload.outcome is None or upload.outcome.image is None:
        return {}
    headers = {
        "Content-Location": f"{base}/api/v1/images/{upload.outcome.image}",
        "Gallery-Image": str(upload.outcome.image),
    }
    return headers | ({"Gallery-Duplicate": "true"} if upload.outcome.duplicate else {})


async def image_response(
    upload: Upload, caller: Caller, images: Images, base: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    """The image of an upload that has ended with one, as `POST /images` answers it. Raises `ImageNotFound`."""
    assert upload.outcome is not None  # noqa: S101  the caller has looked
    assert upload.outcome.image is not None  # noqa: S101  a refusal is raised
    image = await images.get_owned(having_uploaded(caller, upload.outcome.image), upload.outcome.image)
    all_headers = {
        "Location": f"{base}/api/v1/images/{image.id}",
        "ETag": f'"{image.version}"',
        "Cache-Control": "private, no-cache",
        **(headers or {}),
    }
    status = 200 if upload.outcome.duplicate else 201
    body = schema.encode_upload_view(image, base, upload.outcome.duplicate)
    return Response(body, media_type=JSON, status_code=status, headers=all_headers)
