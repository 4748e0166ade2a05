"""Which files the caller has uploaded already, by their SHA-256: an import asks first, and sends only the rest."""

from typing import Annotated, TypeAlias

from litestar import post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.response import Response
from msgspec import UNSET, Meta, Struct, UnsetType

from gallery.access.model import CHECK, Caller, Scope
from gallery.errors import ScopeMissing
from gallery.images.model import ImageId
from gallery.images.service import Images

MAX_FILES = 5000  # of one request
MAX_CHECK_BYTES = 1024 * 1024  # bytes of a body
Sha256: TypeAlias = Annotated[
    str, Meta(max_length=64, pattern="^[0-9a-fA-F]{64}$", description="64 hexadecimal digits")
]


class FileToCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the caller; `id` is any text that the answer repeats, such as the file's path."""

    id: str
    sha256: Sha256


class CheckedFile(Struct, frozen=True):
    """`image` is the caller's image with the same bytes; absent if there is none."""

    id: str
    image: ImageId | UnsetType = UNSET


@post(
    "/check",
    opt=CHECK,
    status_code=200,
    operation_id="checkFiles",
    summary="Find which files are uploaded already",
    responses={200: ResponseSpec(list[CheckedFile], description="In the order sent", generate_examples=False)},
    request_max_body_size=MAX_CHECK_BYTES,
)
async def check_files(
    caller: NamedDependency[Caller],
    images: NamedDependency[Images],
    data: Annotated[list[FileToCheck], Body(media_type=RequestEncodingType.JSON, max_items=MAX_FILES)],
) -> Response[list[CheckedFile]]:
    """Up to 5,000 files, each by its SHA-256; needs the scope `images:read` or `images:write`.

    An upload ticket is told of the files that it has uploaded.
    """
    if not (caller.may(Scope.READ) or caller.may(Scope.WRITE) or caller.upload_ticket):
        raise ScopeMissing(Scope.READ)
    found = await images.find_by_content(caller, {file.sha256.lower() for file in data})
    checked = [CheckedFile(file.id, found.get(file.sha256.lower(), UNSET)) for file in data]
    return Response(checked, headers={"Cache-Control": "no-store"})
