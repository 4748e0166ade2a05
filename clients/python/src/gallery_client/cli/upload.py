"""`gallery-client upload`: sends what is not there yet, several files at a time; the next run goes on with the rest."""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn

import msgspec

from gallery_client.cli.cache import Cache
from gallery_client.cli.files import FoundFile, NothingFoundError, find_files
from gallery_client.cli.output import Output, printable
from gallery_client.client import AsyncGallery
from gallery_client.errors import GalleryError
from gallery_client.models import UploadFields

AT_ONCE = 4
BATCH = 500  # files that are hashed before the first one is sent
WATCH_SECONDS = 2.0
WAIT_SECONDS = 600.0  # until an image is READY


class TooManyErrorsError(Exception):
    """So many files were refused as `--on-errors` allows."""


@dataclass
class Summary:
    sent: int = 0
    skipped: int = 0
    refused: int = 0
    undeleted: int = 0

    def count(self, status: str) -> None:
        self.sent += status in {"sent", "would send"}
        self.skipped += status == "skipped"


@dataclass
class UploadCommand:
    gallery: AsyncGallery
    options: argparse.Namespace
    cache: Cache
    output: Output
    summary: Summary
    _done: set[FoundFile] = field(default_factory=set)
    _left: int = 0  # files, for the line of progress

    async def run(self) -> None:
        """Raises `GalleryError` where it makes no sense to go on, `TooManyErrorsError`, `NothingFoundError`."""
        files = await self._find()
        if self.options.watch:
            await self._watch(files)
        else:
            await self._send_all(files)

    async def _find(self) -> list[FoundFile]:
        return await asyncio.to_thread(lambda: list(find_files(self.options.paths)))

    async def _watch(self, found: list[FoundFile]) -> NoReturn:
        """Files that are new or changed, once they have stayed the same for two seconds."""
        before: set[FoundFile] = set()
        while True:
            new = [file for file in found if file not in self._done and (file in before or _is_settled(file))]
            try:
                await self._send_all(new)
            except GalleryError as error:
                if not error.temporary:
                    raise
                self.output.error(f"{error}; the rest is tried again")
            before = set(found)
            await asyncio.sleep(WATCH_SECONDS)
            try:
                found = await self._find()
            except NothingFoundError:
                found = []

    async def _send_all(self, files: Sequence[FoundFile]) -> None:
        self._left = len(files)
        for start in range(0, len(files), BATCH):
            batch = await self._hash_all(files[start : start + BATCH])
            there = await self.gallery.check(batch)
            waiting = iter([(same, sha256, there.get(sha256)) for sha256, same in batch.items()])
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.create_task(self._work(waiting))
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    async def _hash_all(self, files: Sequence[FoundFile]) -> dict[str, list[FoundFile]]:
        """The files by their SHA-256; those that cannot be read are refused."""
        found: dict[str, list[FoundFile]] = {}
        for at, file in enumerate(files):
            self.output.progress(f"{self._left} left: reading {at + 1} of {len(files)}, {file.label}")
            try:
                found.setdefault(await self._hash(file), []).append(file)
            except OSError as error:
                self._refused(file, error)
        return found

    async def _hash(self, file: FoundFile) -> str:
        """Before a deletion the file is read in any case: only its bytes say whether they are stored."""
        known = None if self.options.delete or file.problem else self.cache.sha256(file)
        if known is not None:
            return known
        with file.open() as source:  # closed when the command is interrupted, which ends the thread
            sha256 = await asyncio.to_thread(_sha256, source)
        self.cache.keep_sha256(file, sha256)
        return sha256

    async def _work(self, waiting: Iterator[tuple[list[FoundFile], str, str | None]]) -> None:
        for files, sha256, there in waiting:
            image = there
            for file in files:  # the same bytes: one after another, so that they are sent once
                image = await self._file(file, sha256, image)

    async def _file(self, file: FoundFile, sha256: str, image: str | None) -> str | None:
        """The id of the image that has these bytes then."""
        try:
            status, image, receipt = await self._settle(file, sha256, image)
        except (GalleryError, OSError) as error:
            self._refused(file, error)
            return image
        self._end(file)
        self.summary.count(status)
        word = {"skipped": "there"}.get(status, status)
        facts = _facts(file, status) if image is None else _facts(file, status, image=image)
        self.output.line(f"{word:10}{file.label}  {image or ''}".rstrip(), facts)
        if self.options.delete and receipt == sha256:
            await self._delete(file)
        return image

    async def _settle(self, file: FoundFile, sha256: str, image: str | None) -> tuple[str, str | None, str]:
        """What was done, the image, and the receipt (the SHA-256 of what is stored).

        Raises `GalleryError`, `OSError`.
        """
        if self.options.dry_run:
            return ("skipped" if image else "would send"), image, ""
        if image is None:
            return await self._send(file, sha256)
        try:
            if self.options.wait:
                await self.gallery.wait(image, timeout=WAIT_SECONDS)
            receipt = (await self.gallery.get(image)).sha256 if self.options.delete else ""
        except GalleryError as error:
            if error.code != "image_not_found":
                raise
            return await self._send(file, sha256)  # it was deleted meanwhile
        return "skipped", image, receipt

    async def _send(self, file: FoundFile, sha256: str) -> tuple[str, str, str]:
        fields = self._fields(file)
        described = msgspec.json.encode([fields, file.name], order="deterministic").decode()
        upload = (self.gallery.url, sha256, described)
        key = self.cache.key(*upload)

        def show(sent: int, total: int) -> None:
            self.output.progress(f"{self._left} left: {100 * sent // total:3} % of {file.label}")

        try:
            with file.open() as source:
                image = await self.gallery.upload(source, idempotency_key=key, on_progress=show, **fields)
        except GalleryError as error:
            if not error.temporary:
                self.cache.done(*upload)  # another try is another upload
            raise
        self.cache.done(*upload)
        if self.options.wait:
            await self.gallery.wait(image, timeout=WAIT_SECONDS)
        return ("skipped" if image.duplicate else "sent"), image.id, image.sha256

    def _refused(self, file: FoundFile, error: GalleryError | OSError) -> None:
        """Raises the error again if it is not about this file; `TooManyErrorsError`."""
        if isinstance(error, GalleryError):
            if error.temporary or error.status in {401, 403}:
                raise error
            code, detail = error.code, error.detail
        else:
            code, detail = "unreadable", error.strerror or str(error)
        if self._stopped():  # by another file, at the same time
            raise TooManyErrorsError
        self._end(file)
        self.summary.refused += 1
        facts = _facts(file, "refused", code=code, detail=detail)
        self.output.line(f"refused   {file.label}: {detail} ({code})", facts)
        if self._stopped():
            raise TooManyErrorsError

    def _end(self, file: FoundFile) -> None:
        self._done.add(file)
        self._left -= 1

    def _stopped(self) -> bool:
        allowed = self.options.on_errors
        return allowed is not None and self.summary.refused >= allowed

    async def _delete(self, file: FoundFile) -> None:
        """Only what is stored as it was read, and has not changed since."""
        if file.entry or not await asyncio.to_thread(file.unchanged):
            return
        try:
            await asyncio.to_thread(file.path.unlink)
        except OSError as error:
            self.summary.undeleted += 1
            self.output.error(f"{file.label} is stored, but cannot be deleted: {error.strerror}")

    def _fields(self, file: FoundFile) -> UploadFields:
        fields: UploadFields = {"lane": "bulk"}
        if self.options.tag:
            fields["tags"] = self.options.tag
        if self.options.title_from == "name":
            name = printable(file.name)
            fields["title"] = name.rpartition(".")[0].strip()[:120] or name[:120]
        return fields


def _is_settled(file: FoundFile) -> bool:
    return not file.entry and file.version < time.time_ns() - WATCH_SECONDS * 1e9


def _sha256(source: BinaryIO) -> str:
    return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]  # it has `readinto`


def _facts(file: FoundFile, status: str, **more: str) -> dict[str, str]:
    return {"file": file.label, "status": status, **more}
