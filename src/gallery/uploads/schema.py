"""The text fields of an upload's form, and the JSON of its answer."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gallery.errors import InvalidField
from gallery.images.model import Image, Lane, UploadMetadata, Visibility
from gallery.images.schema import Alt, Description, ImageView, Tags, Title, image_view, parse_focus
from gallery.uploads.model import Upload
from gallery.validation import invalid_field, pointer, unknown_message


class ImageForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The text fields of an upload."""

    title: Title | UnsetType = UNSET
    description: Description = ""
    alt: Alt = ""
    tags: Tags = []
    visibility: Visibility = Visibility.PRIVATE
    lane: Literal["interactive", "bulk"] = "interactive"
    focus: str | UnsetType = UNSET


FORM_FIELDS = ImageForm.__struct_fields__
JOINERS = "\u200c\u200d"  # not printable, but part of words in Persian and Malayalam, and of emoji


class UploadView(ImageView, frozen=True, kw_only=True, rename="camel"):
    """The uploaded image. `duplicate` is true if you already had an image with the same bytes: this one."""

    __schema_name__ = "UploadedImage"

    duplicate: bool


class UnfinishedUploadView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An upload in several requests: bytes that are safe, and the id of its image once it has one."""

    __schema_name__ = "Upload"

    id: str
    received: int
    size: int | UnsetType
    expires_at: datetime
    image: str | UnsetType = UNSET


class DirectUploadRequest(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A file that will be put directly into the store: its size in bytes, its SHA-256 in hex, and the fields of an
    upload.
    """

    name: str = ""
    size: Annotated[int, Meta(ge=0)]
    sha256: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    alt: str | UnsetType = UNSET
    tags: list[str] = []
    visibility: str | UnsetType = UNSET
    lane: str | UnsetType = UNSET
    focus: str | UnsetType = UNSET

    @property
    def fields(self) -> list[tuple[str, str]]:
        """As a form would have them."""
        values = ((name, getattr(self, name)) for name in FORM_FIELDS if name != "tags")
        return [(name, value) for name, value in values if value is not UNSET] + [("tags", tag) for tag in self.tags]


class PartView(Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """The request that puts the bytes from `from` to before `to`."""

    __schema_name__ = "UploadPart"

    url: str
    method: str
    headers: dict[str, str]
    start: int
    end: int


class DirectUploadView(Struct, frozen=True, kw_only=True, rename="camel"):
    """An upload that has begun: its parts, and the URL that completes it once they are all there. `image` is the id of
    its image, if it has ended already.
    """

    __schema_name__ = "DirectUpload"

    id: str
    parts: list[PartView]
    expires_at: datetime
    complete: str
    image: str | UnsetType = UNSET


def parse_metadata(fields: Iterable[tuple[str, str]], file_name: str) -> UploadMetadata:
    """The validated metadata. Without a title, the file's name becomes the title. Raises `InvalidField`.

    An empty field counts as absent: browsers send a form's empty fields too.
    """
    form = _validate(
        _collect_fields((name, value) for name, value in fields if value.strip() or name not in FORM_FIELDS)
    )
    return UploadMetadata(
        title=_title_from(file_name) if form.title is UNSET else form.title,
        description=form.description,
        alt=form.alt,
        tags=list(dict.fromkeys(form.tags)),
        visibility=form.visibility,
        lane=Lane(form.lane),
        focus=None if form.focus is UNSET else parse_focus(form.focus),
    )


def upload_view(image: Image, base: str, duplicate: bool) -> UploadView:
    return UploadView(**msgspec.structs.asdict(image_view(image, base)), duplicate=duplicate)


def encode_upload_view(image: Image, base: str, duplicate: bool) -> bytes:
    return msgspec.json.encode(upload_view(image, base, duplicate))


def unfinished_view(upload: Upload) -> bytes:
    image = upload.outcome.image if upload.outcome is not None else None
    view = UnfinishedUploadView(
        id=upload.id,
        received=upload.received,
        size=UNSET if upload.length is None else upload.length,
        expires_at=upload.expires_at,
        image=UNSET if image is None else image,
    )
    return msgspec.json.encode(view)


def _collect_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str | list[str]]:
    gathered: dict[str, str | list[str]] = {}
    tags: list[str] = []
    for name, value in fields:
        if name == "tags":
            tags.append(value)
        elif name in gathered:
            raise InvalidField(pointer(name), "is given twice")
        else:
            gathered[name] = value
    return gathered | ({"tags": tags} if tags else {})


def _validate(fields: dict[str, str | list[str]]) -> ImageForm:
    if unknown_fields := [name for name in fields if name not in FORM_FIELDS]:
        raise InvalidField(pointer(unknown_fields[0]), unknown_message("field", ["file", *FORM_FIELDS, "sha256"]))
    try:
        return msgspec.convert(fields, ImageForm)
    except msgspec.ValidationError as error:
        raise invalid_field(error, ImageForm) from error


def _title_from(file_name: str) -> str:
    stem = PurePosixPath(file_name.replace("\\", "/")).stem
    printable = "".join(c for c in stem if c.isprintable() or c in JOINERS).strip().strip(JOINERS)
    return printable[:120] or "Untitled"
