"""API keys: how they are stored, and when they are refused."""

import asyncio
import json
from datetime import timedelta

import pytest

from credentials import bearer_headers, closed_application, create_api_key, run_command, secret_of
from gallery.access import keys
from gallery.access.model import Scope
from gallery.access.service import Credentials
from gallery.cli.keys import _parse_lifetime, _parse_scopes
from gallery.errors import CredentialNotValid, KeyNotFound, Misconfigured
from gallery_processes import base_environment


async def test_a_key_has_an_owner_and_scopes(gallery):
    key_id, text = await create_api_key(gallery, "maya", "images:read")
    caller = await gallery.access.authenticate(Credentials(bearer=text))
    assert (caller.owner, caller.scopes, caller.api_key_id) == ("maya", {Scope.READ}, key_id)
    assert await gallery.access.authenticate(Credentials(api_key=text)) == caller


async def test_the_database_never_sees_the_secret(gallery):
    _, text = await create_api_key(gallery)
    secret = secret_of(text)
    async with gallery.database.primary() as db:
        row = await db.fetchrow("SELECT api_key::text AS everything, hash FROM api_key")
    assert len(row["hash"]) == 32
    assert secret not in row["everything"]
    assert secret.encode().hex() not in row["everything"]


async def test_a_malformed_key_is_refused(gallery):
    key_id, text = await create_api_key(gallery)
    _, other = await create_api_key(gallery)
    wrong = [
        f"gk_{key_id}_{other[-43:]}",
        text[:-1],
        text + "A",
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        f"gk_{'0' * 16}_{'A' * 43}",
        "gk_",
        "gk__",
        f"gk_{key_id}_",
        f"gk_{key_id}_{'A' * 100_000}",
        f"gk_{key_id}\x00_{text[-43:]}",
        text.upper().replace("GK", "gk"),
        f"gk_{key_id}' OR 1=1 --_{text[-43:]}",
        f"gk_{key_id}_{'ü' * 43}",
    ]
    for attempt in wrong:
        with pytest.raises(CredentialNotValid):
            await gallery.access.authenticate(Credentials(bearer=attempt))


async def test_an_expired_key_is_refused(gallery):
    _, text = await create_api_key(gallery, lifetime=timedelta(seconds=0.3))
    assert (await gallery.access.authenticate(Credentials(bearer=text))).owner == "maya"
    await asyncio.sleep(0.4)
    with pytest.raises(CredentialNotValid):  # though it was read a moment ago
        await gallery.access.authenticate(Credentials(bearer=text))


async def test_a_revoked_key_is_refused_soon(gallery, monkeypatch):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.2)
    key_id, text = await create_api_key(gallery)
    await gallery.access.authenticate(Credentials(bearer=text))
    await gallery.access.keys.revoke(key_id)
    await asyncio.sleep(0.25)
    with pytest.raises(CredentialNotValid):
        await gallery.access.authenticate(Credentials(bearer=text))
    with pytest.raises(KeyNotFound):
        await gallery.access.keys.revoke(key_id)


async def test_guessed_keys_cost_no_memory(gallery, monkeypatch):
    monkeypatch.setattr(keys, "MAX_CACHED_MISSING", 10)
    for number in range(30):
        with pytest.raises(CredentialNotValid):
            await gallery.access.authenticate(Credentials(bearer=f"gk_{number:016x}_{'A' * 43}"))
    assert len(gallery.access.keys._cached_missing) <= 10
    assert keys.CACHE_SECONDS <= 5


async def test_a_key_is_cached_for_a_while(gallery, monkeypatch):
    _, text = await create_api_key(gallery)
    queries = []
    find = keys.store.find

    async def counting(db, key):
        queries.append(key)
        return await find(db, key)

    monkeypatch.setattr(keys.store, "find", counting)
    for _ in range(5):
        await gallery.access.authenticate(Credentials(bearer=text))
    assert len(queries) == 1


async def test_both_headers_take_a_key(settings):
    async with closed_application(settings) as (application, client):
        _, text = await create_api_key(application)
        assert (await client.get("/api/v1/images", headers=bearer_headers(text))).status_code == 200
        assert (await client.get("/api/v1/images", headers={"X-Api-Key": text})).status_code == 200
        assert (await client.get("/api/v1/images", headers={"Authorization": f"bearer {text}"})).status_code == 200
        for url in (f"/api/v1/images?access_token={text}", f"/api/v1/images?api_key={text}&ticket={text}"):
            assert (await client.get(url)).status_code == 401, "a URL cannot carry a key"


async def test_the_command_shows_a_key_once(environment):
    code, text, _ = await run_command(
        environment, "keys", "create", "--owner", "maya", "--scope", "images:read", "--expires", "90d", "--name", "CI"
    )
    assert (code, text.count("\n"), text.startswith("gk_")) == (0, 1, True)
    code, listed, _ = await run_command(environment, "keys", "list", "--json")
    key, summary = [json.loads(line) for line in listed.splitlines()]
    assert summary == {"keys": 1}
    assert (key["owner"], key["name"], key["scopes"], key["state"]) == ("maya", "CI", ["images:read"], "valid")
    assert secret_of(text) not in listed
    assert (await run_command(environment, "keys", "revoke", key["id"]))[0] == 0
    assert (await run_command(environment, "keys", "revoke", key["id"]))[0] == 1
    header, row = (await run_command(environment, "keys", "list"))[1].splitlines()
    assert header.split() == ["ID", "STATE", "EXPIRES", "SCOPES", "OWNER", "NAME"]
    assert row.split()[:2] == [key["id"], "revoked"]
    for column, value in [("SCOPES", "images:read"), ("OWNER", "maya"), ("NAME", "CI")]:
        assert row[header.index(column) :].startswith(value)


async def test_the_command_reports_that_there_are_no_keys(environment):
    sentence = "There are no API keys. Create one with gallery keys create.\n"
    assert await run_command(environment, "keys", "list") == (0, "", sentence)
    assert await run_command(environment, "keys", "list", "--json") == (0, '{"keys":0}\n', "")


async def test_the_command_names_the_data_directory_of_the_keys(stack):
    environment = {**base_environment(), "GALLERY_DATA_DIR": str(stack.data)}
    for words in [("create", "--owner", "maya", "--scope", "images:read"), ("list",)]:
        code, _, output = await run_command(environment, "keys", *words)
        assert (code, f"Data directory: {stack.data} " in output) == (0, True)


@pytest.mark.parametrize("text", ["90", "d", "0d", "-1d", "1y", "", "9999999d", "٣d"])
def test_an_invalid_lifetime_is_refused(text):
    with pytest.raises(Misconfigured):
        _parse_lifetime(text)


def test_lifetimes_and_scopes_in_all_their_forms():
    assert _parse_lifetime("90d") == timedelta(days=90)
    assert _parse_lifetime("never") is None
    assert _parse_scopes(["images:read,images:write", "admin admin"]) == [Scope.READ, Scope.WRITE, Scope.ADMIN]
    with pytest.raises(Misconfigured):
        _parse_scopes(["images:eat"])
