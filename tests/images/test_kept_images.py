"""Rows of images in a process's memory: read once, never older than a change, and no way around a caller's rights."""

import asyncio

import msgspec
import pytest

from conftest import running_application, wait_until_caught_up
from factories import CALLER, post, upload_image
from gallery.access.model import ANONYMOUS, Owner, Scope
from gallery.errors import CredentialsRequired, ImageNotFound
from gallery.images import kept_images, store
from gallery.images.change_tokens import own_change_tokens
from gallery.images.kept_images import KeptImages
from gallery.images.model import Edit
from photos import a_jpeg

LARGE = a_jpeg() + bytes(300_000)  # larger than the responses that are kept


@pytest.fixture
async def queries(monkeypatch):
    """The ids of the images that were read from PostgreSQL."""
    found, find = [], store.find

    async def counting(db, image):
        found.append(image)
        return await find(db, image)

    monkeypatch.setattr(store, "find", counting)
    return found


@pytest.fixture
async def kept(gallery, client):
    """The rows that the application of `client` keeps."""
    await wait_until_caught_up(gallery)
    return gallery.kept_images


async def test_a_large_picture_and_its_parts_cost_one_query(client, kept, queries):
    path = f"/api/v1/images/{(await post(client, LARGE)).json()['id']}/original"
    queries.clear()
    assert (await client.get(path)).content == LARGE
    assert (await client.get(path)).content == LARGE
    assert (await client.get(path, headers={"Range": "bytes=10-19"})).content == LARGE[10:20]
    assert len(queries) == 1


async def test_a_changed_image_is_read_again(gallery, kept, queries):
    image = await upload_image(gallery)
    await kept.get(CALLER, image.id)
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    assert (await kept.get(CALLER, image.id)).title == "Dawn"


async def test_a_deleted_image_is_not_found(client, kept):
    path = f"/api/v1/images/{(await post(client, LARGE)).json()['id']}"
    assert (await client.get(f"{path}/original")).status_code == 200
    await client.delete(path)
    assert (await client.get(f"{path}/original")).status_code == 404


async def test_a_change_while_the_row_is_read_is_not_lost(gallery, kept, monkeypatch):
    image, find = await upload_image(gallery), store.find

    async def find_and_wait(db, wanted):
        found = await find(db, wanted)
        monkeypatch.setattr(store, "find", find)
        await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
        return found

    monkeypatch.setattr(store, "find", find_and_wait)
    assert (await kept.get(CALLER, image.id)).title != "Dawn"
    assert (await kept.get(CALLER, image.id)).title == "Dawn"


async def test_another_caller_does_not_see_a_kept_private_image(gallery, kept):
    image = await upload_image(gallery)
    await kept.get(CALLER, image.id)
    other = msgspec.structs.replace(CALLER, owner=Owner("ben"), scopes=frozenset({Scope.READ}))
    for caller, error in ((ANONYMOUS, CredentialsRequired), (other, ImageNotFound)):
        with pytest.raises(error):
            await kept.get(caller, image.id)


async def test_no_row_is_kept_longer_than_a_cached_answer(gallery, client, kept, queries):
    settings = msgspec.structs.replace(gallery.settings.cache, seconds=0)
    kept = KeptImages(gallery.images, gallery.change_tokens, settings)
    image = await upload_image(gallery)
    queries.clear()
    for _ in range(2):
        await kept.get(CALLER, image.id)
    assert queries == [image.id] * 2


async def test_the_rows_used_last_stay(gallery, kept, queries, monkeypatch):
    monkeypatch.setattr(kept_images, "MAX_IMAGES", 2)
    first, second, third = [await upload_image(gallery) for _ in range(3)]
    for image in (first, second, first, third):
        await kept.get(CALLER, image.id)
    queries.clear()
    for image in (first, third, second):
        await kept.get(CALLER, image.id)
    assert queries == [second.id]


async def test_nothing_is_kept_while_changes_of_other_machines_may_be_missed(gallery, queries):
    tokens = own_change_tokens()
    tokens.shared = True  # caught up with no feed yet
    kept = KeptImages(gallery.images, tokens, gallery.settings.cache)
    image = await upload_image(gallery)
    queries.clear()
    for _ in range(2):
        await kept.get(CALLER, image.id)
    assert queries == [image.id] * 2


@pytest.mark.parametrize("setting", [{"GALLERY_CACHE__RESPONSE_BYTES": "0"}, {"GALLERY_CACHE__ENABLED": "false"}])
async def test_it_can_be_turned_off(environment, setting, queries):
    async with running_application(environment, **setting) as (gallery, _):
        await wait_until_caught_up(gallery)
        image = await upload_image(gallery)
        queries.clear()
        await asyncio.gather(*(gallery.kept_images.get(CALLER, image.id) for _ in range(2)))
        assert queries == [image.id] * 2
