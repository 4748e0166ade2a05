"""The commands on images that are there: list, show, export, delete, sign."""

import argparse
from itertools import islice
from pathlib import Path

import msgspec

from gallery_client import pictures
from gallery_client.cli.output import Output
from gallery_client.client import Gallery
from gallery_client.models import Image, ImageFilter

EXTENSIONS = {"image/jpeg": ".jpg"}  # of the others, what stands after the slash


def list_images(gallery: Gallery, options: argparse.Namespace, output: Output) -> None:
    count = 0
    for image in islice(gallery.images(**_filter(options)), options.limit):
        count += 1
        output.line(f"{image.id}  {image.status:10}  {image.title}", image)
    output.line(f"{count} images", {"images": count})


def show(gallery: Gallery, options: argparse.Namespace, output: Output) -> None:
    for id_ in options.images:
        image = gallery.get(id_)
        output.line(_json(image).decode(), image)


def delete(gallery: Gallery, options: argparse.Namespace, output: Output) -> None:
    for id_ in options.images:
        image = gallery.delete(id_)
        output.line(f"deleted   {image.id}  {image.title}", {"image": image.id, "status": "deleted"})
    output.line(f"{len(options.images)} deleted", {"deleted": len(options.images)})


def export(gallery: Gallery, options: argparse.Namespace, output: Output) -> None:
    """The originals, each checked by its hash and with a JSON file beside it; those that are there are not fetched."""
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    fetched = skipped = 0
    for image in gallery.images(**_filter(options)):
        path = _path(folder, image)
        if path.exists() and path.stat().st_size == image.size:
            skipped += 1
            continue
        gallery.download(image, path)
        path.with_suffix(".json").write_bytes(_json(image))
        fetched += 1
        output.line(f"exported  {path}  {image.title}", {"file": str(path), "image": image.id, "status": "exported"})
    output.line(f"{fetched} exported, {skipped} were there", {"exported": fetched, "skipped": skipped})


def sign(gallery: Gallery, options: argparse.Namespace, output: Output) -> None:
    """Raises `ValueError` for parameters that no picture has."""
    url = pictures.sign(
        url=gallery.url,
        key=options.key,
        image=options.image,
        query=options.query,
        expires_at=options.expires_at,
    )
    output.line(url, {"url": url})


def _filter(options: argparse.Namespace) -> ImageFilter:
    wanted: ImageFilter = {}
    if options.search:
        wanted["search"] = options.search
    if options.tag:
        wanted["tags"] = options.tag
    if options.status:
        wanted["status"] = options.status
    return wanted


def _path(folder: Path, image: Image) -> Path:
    return folder / f"{image.id}{EXTENSIONS.get(image.mime_type) or '.' + image.mime_type.rpartition('/')[2]}"


def _json(image: Image) -> bytes:
    return msgspec.json.format(msgspec.json.encode(image))
