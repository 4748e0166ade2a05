"""`gallery-client upload`: sends what is not there yet, several files at a time; the next run goes on with the rest."""

import argparse
import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from gallery_client.cli.cache import Cache
from gallery_client.cli.files import FoundFile, find_files
from gallery_client.cli.output import Output
from gallery_client.client import AsyncGallery
from gallery_client.errors import GalleryError
from gallery_client.models import UploadFields

AT_ONCE = 4
BATCH = 500  # files that are hashed before the first one is sent
WATCH_SECONDS = 2.0


class TooManyErrors(Exception):
    """So many files were refused as `--on-errors` allows."""


@dataclass
class Summary:
    sent: int = 0
    skipped: int = 0
    refused: int = 0


@dataclass
class UploadCommand:
    gallery: AsyncGallery
    options: argparse.Namespace
    cache: Cache
    output: Output
    summary: Summary

    async def run(self) -> None:
        """Raises `GalleryError` where it makes no sense to go on, `TooManyErrors`, `FileNotFoundError`."""
        files = await asyncio.to_thread(lambda: list(find_files(self.options.paths)))
        await self._send_all(files)
        if self.options.watch:
            await self._watch(files)

    async def _watch(self, files: Sequence[FoundFile]) -> None:
        """Files that are new or changed, once they have stayed the same between two looks."""
        sent, before = set(files), set(files)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            found = []
            with suppress(FileNotFoundError):
                found = await asyncio.to_thread(lambda: list(find_files(self.options.paths)))
            await self._send_all([file for file in found if file in before and file not in sent])
            sent |= set(found) & before
            before = set(found)

    async def _send_all(self, files: Sequence[FoundFile]) -> None:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            hashes = {file: await self._hash(file, start + at, len(files)) for at, file in enumerate(batch)}
            there = await self.gallery.check(hashes.values())
            waiting = iter(hashes.items())
            try:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.create_task(self._work(waiting, there))
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None

    async def _work(self, waiting: Iterator[tuple[FoundFile, str]], there: dict[str, str]) -> None:
        for file, sha256 in waiting:
            await self._file(file, sha256, there)

    async def _hash(self, file: FoundFile, number: int, count: int) -> str:
        known = self.cache.sha256(file)
        if known is not None:
            return known
        self.output.progress(f"{number + 1} of {count}: reading {file.label}")
        sha256 = await asyncio.to_thread(_sha256, file)
        self.cache.keep_sha256(file, sha256)
        return sha256

    async def _file(self, file: FoundFile, sha256: str, there: dict[str, str]) -> None:
        if sha256 in there:
            self.summary.skipped += 1
            image = there[sha256]
            await self._delete(file, sha256, (await self.gallery.get(image)).sha256 if self.options.delete else "")
            self.output.line(f"there     {file.label}  {image}", _facts(file, "skipped", image=image))
        elif self.options.dry_run:
            self.summary.sent += 1
            self.output.line(f"would send {file.label}", _facts(file, "would send"))
        else:
            await self._send(file, sha256)

    async def _send(self, file: FoundFile, sha256: str) -> None:
        fields = self._fields(file)
        described = msgspec.json.encode([fields, file.name], order="deterministic").decode()
        key = self.cache.key(self.options.url, sha256, described)

        def show(sent: int, total: int) -> None:
            self.output.progress(f"{100 * sent // total:3} %  {file.label}")

        try:
            with file.open() as source:
                image = await self.gallery.upload(source, idempotency_key=key, on_progress=show, **fields)
            self.cache.done(self.options.url, sha256, described)
            if self.options.wait:
                await self.gallery.wait(image, timeout=600)
        except GalleryError as error:
            self._refused(file, error)
            return
        self.summary.sent += 1
        await self._delete(file, sha256, image.sha256)
        self.output.line(f"sent      {file.label}  {image.id}", _facts(file, "sent", image=image.id))

    def _refused(self, file: FoundFile, error: GalleryError) -> None:
        """Raises the error again if it is not about this file; `TooManyErrors`."""
        if error.temporary or error.status in {401, 403}:
            raise error
        if self._stopped():  # by another file, at the same time
            raise TooManyErrors
        self.summary.refused += 1
        facts = _facts(file, "refused", code=error.code, detail=error.detail)
        self.output.line(f"refused   {file.label}: {error}", facts)
        if self._stopped():
            raise TooManyErrors

    def _stopped(self) -> bool:
        allowed = self.options.on_errors
        return allowed is not None and self.summary.refused >= allowed

    async def _delete(self, file: FoundFile, sha256: str, receipt: str) -> None:
        """Only what is stored as it was read, and has not changed since."""
        if self.options.delete and not file.entry and receipt == sha256 and file.unchanged():
            await asyncio.to_thread(file.path.unlink)

    def _fields(self, file: FoundFile) -> UploadFields:
        fields: UploadFields = {"lane": "bulk"}
        if self.options.tag:
            fields["tags"] = self.options.tag
        if self.options.title_from == "name":
            fields["title"] = file.name.rpartition(".")[0][:120] or file.name[:120]
        return fields


def _sha256(file: FoundFile) -> str:
    with file.open() as source:
        return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]  # it has `readinto`


def _facts(file: FoundFile, status: str, **more: str) -> dict[str, str]:
    return {"file": file.label, "status": status, **more}
