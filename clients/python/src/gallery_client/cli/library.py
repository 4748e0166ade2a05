"""The commands on images that are there: list, show, export, delete, sign. They return how many were refused."""

import argparse
import re
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import msgspec

from gallery_client import pictures
from gallery_client.cli.output import Output
from gallery_client.client import Gallery
from gallery_client.errors import GalleryError
from gallery_client.models import Image, ImageFilter

EXTENSIONS = {"image/jpeg": ".jpg"}  # of the others, what stands after the slash
PAGE = 200  # images of one request
NAME = re.compile(r"[A-Za-z0-9-]+\.[a-z0-9]+")  # never a path, whatever the server says


def list_images(gallery: Gallery, options: argparse.Namespace, output: Output) -> int:
    count = 0
    try:
        for image in islice(gallery.images(**_filter(options)), options.limit):
            count += 1
            output.line(f"{image.id}  {image.status:10}  {image.title}", image)
    finally:
        output.line(f"{count} images", {"images": count})
    return 0


def show(gallery: Gallery, options: argparse.Namespace, output: Output) -> int:
    def show_one(id_: str) -> None:
        image = gallery.get(id_)
        output.lines(_json(image).decode(), image)

    return _for_each(options.images, show_one, "shown", output)


def delete(gallery: Gallery, options: argparse.Namespace, output: Output) -> int:
    def delete_one(id_: str) -> None:
        image = gallery.delete(id_)
        output.line(f"deleted   {image.id}  {image.title}", {"image": image.id, "status": "deleted"})

    return _for_each(options.images, delete_one, "deleted", output)


def _for_each(ids: Iterable[str], action: Callable[[str], None], done: str, output: Output) -> int:
    """Goes on after images that are refused."""
    counts = {done: 0, "refused": 0}
    try:
        for id_ in ids:
            try:
                action(id_)
            except GalleryError as error:
                _refused(id_, error, output)
                counts["refused"] += 1
            else:
                counts[done] += 1
    finally:
        output.line(f"{counts[done]} {done}, {counts['refused']} refused", counts)
    return counts["refused"]


def export(gallery: Gallery, options: argparse.Namespace, output: Output) -> int:
    """The originals, each checked by its hash and with a JSON file beside it; those that are there are not fetched."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    exported = skipped = refused = 0
    try:
        for image in gallery.images(**_filter(options)):
            try:
                path = _export_one(gallery, image, folder)
            except GalleryError as error:
                _refused(image.id, error, output)
                refused += 1
                continue
            if path is None:
                skipped += 1
                continue
            exported += 1
            facts = {"file": str(path), "image": image.id, "status": "exported"}
            output.line(f"exported  {path}  {image.title}", facts)
    finally:
        facts_of_all = {"exported": exported, "skipped": skipped, "refused": refused}
        output.line(f"{exported} exported, {skipped} were there, {refused} refused", facts_of_all)
    return refused


def _export_one(gallery: Gallery, image: Image, folder: Path) -> Path | None:
    """The new file; `None` if it was there. Only whole files get the image's size under its name."""
    path = _path(folder, image)
    is_there = path.exists() and path.stat().st_size == image.size
    if not is_there:
        gallery.download(image, path)
    facts, content = path.with_suffix(".json"), _json(image)
    if not facts.exists() or facts.read_bytes() != content:
        part = facts.with_suffix(".json.part")
        part.write_bytes(content)
        part.replace(facts)
    return None if is_there else path


def _refused(id_: str, error: GalleryError, output: Output) -> None:
    """Raises the error again if it is not about this image."""
    if error.temporary or error.status in {401, 403}:
        raise error
    facts = {"image": id_, "status": "refused", "code": error.code, "detail": error.detail}
    output.line(f"refused   {id_}: {error}", facts)


def sign(gallery: Gallery, options: argparse.Namespace, output: Output) -> int:
    """Raises `ValueError` for parameters that no picture has."""
    url = pictures.sign(
        url=gallery.url,
        key=options.key,
        image=options.image,
        query=options.query,
        expires_at=options.expires_at,
    )
    output.line(url, {"url": url})
    return 0


def _filter(options: argparse.Namespace) -> ImageFilter:
    wanted: ImageFilter = {"limit": min(PAGE, getattr(options, "limit", None) or PAGE)}
    if options.search:
        wanted["search"] = options.search
    if options.tag:
        wanted["tags"] = options.tag
    if options.status:
        wanted["status"] = options.status
    return wanted


def _path(folder: Path, image: Image) -> Path:
    """Raises `GalleryError`."""
    name = f"{image.id}{EXTENSIONS.get(image.mime_type) or '.' + image.mime_type.rpartition('/')[2]}"
    if not NAME.fullmatch(name):
        raise GalleryError("answer_not_understood", f"The image {image.id} of the type {image.mime_type} has no name.")
    return folder / name


def _json(image: Image) -> bytes:
    return msgspec.json.format(msgspec.json.encode(image))
