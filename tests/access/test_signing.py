"""Signatures: keys that all processes share, rotation, sessions, tickets and links."""

import asyncio
import base64
import time
from datetime import timedelta

import msgspec
import pytest

from credentials import create_api_key
from gallery.access import sessions, signing
from gallery.access.model import OPEN_MODE_CALLER, Caller, CredentialKind, Owner, Purpose, Scope
from gallery.access.service import Credentials
from gallery.access.signed_links import SignedQuery
from gallery.access.signing import Signatures
from gallery.errors import CannotStart, CredentialNotValid, LinkNotValid

CONFIGURED_KEY = "one:" + base64.b64encode(b"1" * 32).decode()
OTHER = "two:" + base64.urlsafe_b64encode(b"\xff" * 40).decode().rstrip("=")
BOTH = (Purpose.LINK, Purpose.DOWNLOAD)
MAYA = Caller(owner=Owner("maya"), scopes=frozenset({Scope.READ, Scope.WRITE}), kind=CredentialKind.API_KEY)


async def test_all_processes_sign_with_one_key(gallery):
    processes = [Signatures(gallery.database, None) for _ in range(5)]
    signed = await asyncio.gather(*(each.sign(Purpose.LINK, "x") for each in processes))
    assert len(set(signed)) == 1
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM signing_key") == 1


async def test_a_signature_is_valid_for_one_purpose_one_message_one_key(gallery):
    signatures = gallery.access.signatures
    key, signature = await signatures.sign(Purpose.LINK, "x")
    assert await signatures.verify(Purpose.LINK, "x", key, signature)
    for purpose, message, key_id, text in (
        (Purpose.TICKET, "x", key, signature),
        (Purpose.LINK, "y", key, signature),
        (Purpose.LINK, "x", "other", signature),
        (Purpose.LINK, "x", "", ""),
        (Purpose.LINK, "x", key, signature[:-1]),
        (Purpose.LINK, "x", key, "ü"),
    ):
        assert not await signatures.verify(purpose, message, key_id, text)


async def test_after_a_rotation_old_signatures_stay_valid_until_they_expire(gallery, monkeypatch):
    signatures = gallery.access.signatures
    old = await signatures.sign(Purpose.LINK, "x")
    new = await signatures.rotate()
    assert (await signatures.sign(Purpose.LINK, "x"))[0] == new != old[0]
    assert await signatures.verify(Purpose.LINK, "x", *old)
    async with gallery.database.writing() as db:
        await db.execute("UPDATE signing_key SET retired_at = retired_at - interval '8 days' WHERE id = $1", old[0])
    monkeypatch.setattr(signing, "CACHE_SECONDS", 0.0)
    assert not await signatures.verify(Purpose.LINK, "x", *old), "all that it signed has expired"
    await signatures.rotate()
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM signing_key") == 2


async def test_a_rotation_at_once_ends_all_older_signatures(gallery):
    signatures = gallery.access.signatures
    old = await signatures.sign(Purpose.LINK, "x")
    await signatures.rotate(at_once=True)
    assert not await signatures.verify(Purpose.LINK, "x", *old)


async def test_another_process_learns_of_a_rotation(gallery, monkeypatch):
    monkeypatch.setattr(signing, "CACHE_SECONDS", 0.0)
    other = Signatures(gallery.database, None)
    await other.sign(Purpose.LINK, "x")
    new = await gallery.access.signatures.rotate()
    signed = await gallery.access.signatures.sign(Purpose.LINK, "x")
    assert signed[0] == new
    assert await other.verify(Purpose.LINK, "x", *signed)


async def test_configured_keys_need_no_database():
    first, both = Signatures(None, CONFIGURED_KEY), Signatures(None, f"{OTHER}, {CONFIGURED_KEY}")
    signed = await first.sign(Purpose.LINK, "x")
    assert await both.verify(Purpose.LINK, "x", *signed), "all verify"
    assert (await both.sign(Purpose.LINK, "x"))[0] == "two", "the first signs"
    with pytest.raises(CannotStart):
        await first.rotate()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "one:",
        "one:AAAA",
        ":" + "A" * 44,
        f"{CONFIGURED_KEY},{CONFIGURED_KEY}",
        "one:" + "!" * 44,
        f"{CONFIGURED_KEY},",
    ],
)
def test_invalid_configured_keys_are_refused_at_start(text):
    with pytest.raises(CannotStart):
        Signatures(None, text)


# --- sessions and tickets ---------------------------------------------------------------------------------------------


async def test_a_ticket_can_read_and_a_session_has_the_scopes_of_its_owner(gallery):
    ticket, seconds = await gallery.access.sessions.issue_ticket(MAYA)
    caller = await gallery.access.authenticate_ticket(ticket)
    assert (caller.owner, caller.scopes, caller.kind, seconds) == ("maya", {Scope.READ}, CredentialKind.TICKET, 300)
    session, seconds = await gallery.access.sessions.issue_session(MAYA)
    caller = await gallery.access.authenticate(Credentials(session=session))
    assert (caller.owner, caller.scopes, caller.kind, seconds) == (
        "maya",
        MAYA.scopes,
        CredentialKind.SESSION,
        12 * 3600,
    )


async def test_a_ticket_is_no_session_and_a_session_no_ticket(gallery):
    issued = gallery.access.sessions
    ticket, session = (await issued.issue_ticket(MAYA))[0], (await issued.issue_session(MAYA))[0]
    for read, text in ((issued.verify_session, ticket), (issued.verify_ticket, session)):
        with pytest.raises(CredentialNotValid):
            await read(text)


async def test_a_changed_session_is_refused(gallery):
    issued = gallery.access.sessions
    text, _ = await issued.issue_session(MAYA)
    message, key, signature = text.split(".")
    admin = signing.base64url_encode(
        msgspec.json.encode(sessions.SignedCaller(Owner("root"), [Scope.ADMIN], None, 2**40, None))
    )
    for wrong in (
        f"{admin}.{key}.{signature}",
        f"{message}.{key}.",
        f"{message}.{key}",
        message,
        "",
        "..",
        "ü.ü.ü",
        "x" * 10**6,
    ):
        with pytest.raises(CredentialNotValid):
            await issued.verify_session(wrong)


async def test_no_session_or_ticket_outlives_its_credential(gallery):
    soon = msgspec.structs.replace(MAYA, expires_at=time.time() + 100)
    for issue in (gallery.access.sessions.issue_ticket, gallery.access.sessions.issue_session):
        assert (await issue(soon))[1] <= 100
    over = msgspec.structs.replace(MAYA, expires_at=time.time() - 1)
    with pytest.raises(CredentialNotValid):
        await gallery.access.sessions.verify_ticket((await gallery.access.sessions.issue_ticket(over))[0])


async def test_a_ticket_ends_with_its_key(gallery, monkeypatch):
    monkeypatch.setattr("gallery.access.keys.CACHE_SECONDS", 0.0)
    key_id, text = await create_api_key(gallery)
    ticket, _ = await gallery.access.sessions.issue_ticket(await gallery.access.authenticate(Credentials(bearer=text)))
    await gallery.access.authenticate_ticket(ticket)
    await gallery.access.keys.revoke(key_id)
    with pytest.raises(CredentialNotValid):
        await gallery.access.authenticate_ticket(ticket)


async def test_in_open_mode_an_old_cookie_is_ignored(gallery):
    assert gallery.access.open
    assert await gallery.access.authenticate(Credentials(session="of another time")) == OPEN_MODE_CALLER
    assert await gallery.access.authenticate(Credentials(bearer="of another service")) == OPEN_MODE_CALLER
    _, text = await create_api_key(gallery)
    assert (await gallery.access.authenticate(Credentials(bearer=text))).owner == "maya", (
        "a valid key counts in open mode too"
    )


# --- links ------------------------------------------------------------------------------------------------------------


async def test_a_link_reads_one_image_until_it_expires(gallery):
    signed = await gallery.access.links.sign("image", timedelta(seconds=60))
    caller = await gallery.access.links.authenticate("image", signed, BOTH)
    assert caller.may_see("image", Owner("anybody"), public=False)
    assert not caller.may_see("another", Owner("anybody"), public=False)
    assert not caller.may_see("another", caller.owner, public=False)
    assert not any(caller.may(scope) for scope in Scope)


@pytest.mark.parametrize(
    "change",
    [
        {"exp": "9999999999"},
        {"exp": "soon"},
        {"exp": "-1"},
        {"exp": "9" * 100},
        {"exp": "٣"},
        {"exp": ""},
        {"kid": "x"},
        {"sig": "x"},
        {"sig": ""},
        {"download": "1"},
    ],
)
async def test_a_link_that_was_changed_is_refused(gallery, change):
    signed = await gallery.access.links.sign("image", timedelta(seconds=60))
    with pytest.raises(LinkNotValid):
        await gallery.access.links.authenticate("image", {**signed, **change}, BOTH)
    with pytest.raises(LinkNotValid):
        await gallery.access.links.authenticate("other", signed, BOTH)


async def test_an_expired_link_is_refused(gallery):
    signed = await gallery.access.links.sign("image", timedelta(seconds=-1))
    with pytest.raises(LinkNotValid):
        await gallery.access.links.authenticate("image", signed, BOTH)


async def test_no_link_lives_longer_than_a_week(gallery):
    signed = await gallery.access.links.sign("image", timedelta(days=400))
    assert int(signed["exp"]) <= time.time() + 7 * 24 * 3600


def test_a_signature_is_appended_to_a_url_with_or_without_a_query():
    assert SignedQuery(kid="k", exp="1", sig="s").append_to("/a?v=1") == "/a?v=1&kid=k&exp=1&sig=s"
