"""Tokens of images and owners, which each change replaces."""

import asyncio
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from factories import CALLER, upload_image
from gallery.access.model import Owner
from gallery.images.change_tokens import (
    Change,
    image_subject,
    open_change_tokens,
    own_change_tokens,
    owner_subject,
)
from gallery.images.model import Edit, ImageId

LAKE, HILL, MAYA, BEN = ImageId("lake"), ImageId("hill"), Owner("maya"), Owner("ben")
READ_TOKEN = """
import sys
from gallery.images.change_tokens import image_subject, open_change_tokens
with open_change_tokens(sys.argv[1]) as tokens:
    print(*tokens.read(image_subject("lake")))
"""


@pytest.fixture
def installation():
    return str(uuid.uuid4())


def test_a_change_replaces_the_tokens_of_the_image_and_its_owner():
    tokens = own_change_tokens()
    lake, hill = tokens.read(image_subject(LAKE)), tokens.read(image_subject(HILL))
    maya, ben = tokens.read(owner_subject(MAYA)), tokens.read(owner_subject(BEN))
    tokens.record([Change(MAYA, LAKE, 2)])
    assert [tokens.is_current(reading) for reading in (lake, maya, hill, ben)] == [False, False, True, True]
    assert tokens.is_current(tokens.read(image_subject(LAKE)))


def test_each_version_counts_once_for_all_processes(installation):
    """The feeds of all processes record again what the writer has recorded."""
    with open_change_tokens(installation) as writer, open_change_tokens(installation) as feed:
        writer.record([Change(MAYA, LAKE, 2)])
        lake, maya = feed.read(image_subject(LAKE)), feed.read(owner_subject(MAYA))
        feed.record([Change(MAYA, LAKE, 2)])
        assert feed.is_current(lake)
        assert feed.is_current(maya)
        feed.record([Change(MAYA, LAKE, 3)])
        assert not writer.is_current(lake)
        assert not writer.is_current(maya)


def test_a_version_of_an_earlier_minute_counts_again(monkeypatch):
    """A database that was restored while processes were running repeats versions."""
    tokens = own_change_tokens()
    tokens.record([Change(MAYA, LAKE, 2)])
    reading = tokens.read(image_subject(LAKE))
    monkeypatch.setattr("gallery.images.change_tokens.FINGERPRINT_SECONDS", 61)
    tokens.record([Change(MAYA, LAKE, 2)])
    assert not tokens.is_current(reading)


def test_all_processes_find_a_subject_in_the_same_slot(installation):
    with open_change_tokens(installation) as tokens:
        tokens.record([Change(MAYA, LAKE, 2)])
        command = [sys.executable, "-c", READ_TOKEN, installation]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert found.split() == [str(number) for number in tokens.read(image_subject(LAKE))]


def test_clearing_replaces_every_token():
    tokens = own_change_tokens()
    lake, ben = tokens.read(image_subject(LAKE)), tokens.read(owner_subject(BEN))
    tokens.replace_all()
    assert not tokens.is_current(lake)
    assert not tokens.is_current(ben)


def test_without_shared_memory_a_process_has_tokens_of_its_own(installation, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/missing")
    monkeypatch.setattr("gallery.local_disk.shared_memory.MEMORY_FOLDER", Path("/missing"))
    with capture_logs() as lines, open_change_tokens(installation) as tokens:
        assert not tokens.shared
        reading = tokens.read(image_subject(LAKE))
        tokens.record([Change(MAYA, LAKE, 2)])
        assert not tokens.is_current(reading)
    assert [line["event"] for line in lines] == ["cache.no_shared_memory"]


async def test_tokens_change_after_the_commit_and_after_valkey_was_invalidated(gallery):
    """So a reader that finds a new token cannot find an older answer in Valkey."""
    image = await upload_image(gallery)
    tokens = gallery.change_tokens
    before = tokens.read(image_subject(image.id))
    await gallery.valkey.call(lambda server: server.client_pause(2000, all=False))
    edit = asyncio.create_task(gallery.images.edit(CALLER, image.id, Edit(title="Dawn")))
    async with gallery.database.primary() as db:
        while await db.fetchval("SELECT title FROM image WHERE id = $1", image.id) != "Dawn":
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert tokens.is_current(before)
    await gallery.valkey.call(lambda server: server.client_unpause())
    await edit
    assert not tokens.is_current(before)
