"""Links to pictures on demand: signed by Gallery or by other servers' link keys, each for one query."""

import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

import javascript_client
from credentials import closed_application, run_command
from gallery.access import link_keys, signing
from gallery.access.link_keys import LinkKeys
from gallery.access.model import Owner, Purpose, Scope
from gallery.access.service import Access
from gallery.access.signed_links import SignedLinks, signed_query
from gallery.access.signing import Signatures
from gallery.errors import CannotStart, KeyNotFound, LinkNotValid
from gallery.settings import Settings

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "docs" / "signing-vectors.json").read_text())
PAGE = (ROOT / "docs" / "signed-links.md").read_text()
SIGN_TS = javascript_client.FOLDER / "src" / "server" / "sign.ts"
KEYS = ",".join(dict.fromkeys(vector["key"] for vector in VECTORS["vectors"]))
IMAGE = "01990000-0000-7000-8000-000000000000"
PARAMETERS = {"w": "800", "fit": "cover", "h": "600"}
HOUR = 3600


def query_of(url):
    return urlsplit(url).query.encode()


def code_block(language):
    return re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def links():
    """With the link keys of the vectors, and no database: those of the setting need none."""
    signatures = Signatures(None, "own:" + "A" * 43)
    return SignedLinks(signatures, LinkKeys(None, KEYS), HOUR)


# --- the vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["about"])
async def test_gallery_accepts_the_urls_of_the_vectors(links, vector):
    caller = await links.authenticate_picture(vector["image"], query_of(vector["url"]))
    assert caller.link_key_id == vector["key"].partition(":")[0]
    assert (caller.expires_at, caller.signing_key_id) == (vector["exp"], None)
    shuffled = f"sig={vector['signature']}&{vector['query']}&exp={vector['exp']}&kid={caller.link_key_id}"
    assert await links.authenticate_picture(vector["image"], shuffled.encode()) == caller


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["about"])
def test_the_program_in_python_makes_the_urls_of_the_vectors(vector):
    program = {}
    exec(code_block("python"), program)
    url = program["sign_picture"](
        "https://img.example.org", vector["key"], vector["image"], vector["query"], vector["exp"]
    )
    assert url == vector["url"]


async def test_the_program_in_javascript_makes_the_urls_of_the_vectors():
    """And refuses what cannot be signed."""
    module = javascript_client.build() / "server" / "sign.js"
    found = await javascript_client.evaluate(
        f'import {{ sign, canonicalQuery }} from "{module.as_uri()}";\n'
        f"const {{ vectors, refused }} = {json.dumps(VECTORS)};\n"
        'const url = "https://img.example.org/";\n'
        "const urls = await Promise.all(vectors.map((vector) => sign({ ...vector, url, expiresAt: vector.exp })));\n"
        "const errors = refused.map(({ query }) => {\n"
        "  try { return canonicalQuery(query); } catch (error) { return error.name; }\n"
        "});\n"
        'const byObject = canonicalQuery({ w: 800, focus: "0.5,0.5", dpr: "2.0", h: undefined, gray: false });\n'
        "const rounded = await sign({ ...vectors[0], url, image: { id: vectors[0].image } });\n"
        "console.log(JSON.stringify({ urls, errors, byObject, rounded }));\n"
    )
    assert found["urls"] == [vector["url"] for vector in VECTORS["vectors"]]
    assert found["errors"] == ["TypeError"] * len(VECTORS["refused"])
    assert found["byObject"] == "dpr=2.0&focus=0.5,0.5&w=800"
    assert int(re.search(r"exp=(\d+)", found["rounded"])[1]) in {
        (now // HOUR + 2) * HOUR for now in (int(time.time()), int(time.time()) - 60)
    }


def test_the_page_shows_the_program_in_javascript_as_it_is():
    assert code_block("ts") == SIGN_TS.read_text()


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["about"])
def test_the_steps_of_the_vectors(vector):
    pairs = dict(part.split("=") for part in vector["canonicalQuery"].split("&") if part)
    assert signed_query(pairs) == vector["canonicalQuery"]
    assert vector["message"].split("\n") == [
        "gallery:picture:1", vector["image"], str(vector["exp"]), vector["canonicalQuery"],
    ]  # fmt: skip


# --- only for what it signs -------------------------------------------------------------------------------------------


async def test_a_link_is_good_for_its_image_and_its_query(links):
    signer = await links.window_signer()
    signed = f"/?{signer.sign_picture(IMAGE, PARAMETERS)}"
    assert re.fullmatch(r"/\?fit=cover&h=600&w=800&kid=own&exp=\d+&sig=[\w-]{43}", signed)
    caller = await links.authenticate_picture(IMAGE, query_of(signed))
    assert (caller.signing_key_id, caller.link_key_id, caller.image_id) == ("own", None, IMAGE)
    assert caller.may_see(IMAGE, Owner("maya"), public=False)
    assert not caller.may_see(IMAGE.replace("8", "9"), Owner("maya"), public=False)
    assert not any(caller.may(scope) for scope in Scope)
    with pytest.raises(LinkNotValid):
        await links.authenticate_picture(IMAGE.replace("8", "9"), query_of(signed))
    for old, new in (
        ("w=800", "w=801"),
        ("w=800", "w=0800"),
        ("&w=800", ""),
        ("w=800", "w=800&q=90"),
        ("w=800", "w=800&v=1"),
        ("w=800", "w=800&w=800"),
        ("w=800", "W=800"),
        ("w=800", "w=800&=1"),
        ("w=800", "w=800&x"),
        ("cover", "Cover"),
        ("kid=own", "kid=web1"),
        ("kid=own", "kid=own&kid=own"),
        ("kid=own", "kid="),
        ("kid=own&", ""),
        ("exp=", "exp=9"),
        ("exp=", "exp=-"),
        ("sig=", "sig=x"),
        ("sig=", "sig=%FF"),
        ("sig=", "nothing="),
    ):
        with pytest.raises(LinkNotValid):
            await links.authenticate_picture(IMAGE, query_of(signed.replace(old, new)))


@pytest.mark.parametrize("refused", VECTORS["refused"], ids=lambda refused: refused["about"])
async def test_what_cannot_be_signed_is_refused(links, refused):
    query = f"{refused['query']}&kid=own&exp=4102444800&sig={'A' * 43}"
    with pytest.raises(LinkNotValid):
        await links.authenticate_picture(IMAGE, query.encode())


async def test_a_link_to_the_whole_image_and_one_to_a_picture_are_different(links):
    signer = await links.window_signer()
    for whole in (signer.sign(IMAGE), signer.sign(IMAGE, Purpose.DOWNLOAD)):
        for prefix in ("/", "/?w=800"):
            with pytest.raises(LinkNotValid):
                await links.authenticate_picture(IMAGE, query_of(whole.append_to(prefix)))
    with pytest.raises(LinkNotValid):
        await links.authenticate(IMAGE, dict(parse_qsl(signer.sign_picture(IMAGE, {}))), (Purpose.LINK,))


async def test_a_link_key_signs_nothing_but_pictures(links):
    """Not even with the message of another purpose."""
    (key,) = signing.parse_keys("X", VECTORS["vectors"][0]["key"])
    expires = int(time.time()) + 60
    for purpose in Purpose:
        signature = signing.signature_of(key, purpose, f"{IMAGE}\n{expires}")
        query = {"kid": key.id, "exp": str(expires), "sig": signature}
        with pytest.raises(LinkNotValid):
            await links.authenticate(IMAGE, query, (Purpose.LINK, Purpose.DOWNLOAD))


async def test_an_expired_link_is_refused(links):
    (key,) = signing.parse_keys("X", VECTORS["vectors"][0]["key"])
    expired = int(time.time())
    message = f"{IMAGE}\n{expired}\nw=1"
    signature = signing.signature_of(key, Purpose.PICTURE, message)
    with pytest.raises(LinkNotValid):
        await links.authenticate_picture(IMAGE, f"w=1&kid={key.id}&exp={expired}&sig={signature}".encode())


# --- link keys --------------------------------------------------------------------------------------------------------


async def sign_by(text, **query):
    """The query of a URL that is signed by a link key, as another server does it."""
    program = {}
    exec(code_block("python"), program)
    parameters = "&".join(f"{name}={value}" for name, value in query.items())
    return query_of(program["sign_picture"]("", text, IMAGE, parameters))


async def test_a_link_key_of_the_database_signs_until_it_is_revoked(gallery, monkeypatch):
    monkeypatch.setattr(link_keys, "CACHE_SECONDS", 0.0)
    access = gallery.access
    key, text = await access.link_keys.create("shop")
    assert text.startswith(f"{key.id}:")
    assert key.id.startswith("lk_")
    query = await sign_by(text, w=800)
    caller = await access.links.authenticate_picture(IMAGE, query)
    assert caller.link_key_id == key.id
    await access.link_keys.revoke(key.id)
    with pytest.raises(LinkNotValid):
        await access.links.authenticate_picture(IMAGE, query)
    with pytest.raises(KeyNotFound):
        await access.link_keys.revoke(key.id)
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT secret FROM link_key WHERE id = $1", key.id) is None


async def test_an_answer_to_a_link_is_kept_no_longer_than_its_key_was_checked(gallery, monkeypatch):
    access = gallery.access
    key, text = await access.link_keys.create("")
    caller = await access.links.authenticate_picture(IMAGE, await sign_by(text, w=800))
    (check,) = access.key_checks(caller)
    now = time.monotonic()
    assert check.holds(now)
    assert not check.holds(now + link_keys.CACHE_SECONDS), "at most until the next query"
    await access.link_keys.revoke(key.id)
    monkeypatch.setattr(link_keys, "CACHE_SECONDS", 0.0)
    assert not await check.repeat()
    assert not check.holds(time.monotonic())


async def test_a_configured_link_key_counts_beside_those_of_the_database(settings):
    configured = VECTORS["vectors"][0]["key"]
    async with closed_application(settings, jwt_secret="x" * 32, link_keys=configured) as (application, _):
        keys, links = application.access.link_keys, application.access.links
        _, stored = await keys.create("")
        for text in (configured, stored):
            await links.authenticate_picture(IMAGE, await sign_by(text, w=800))
        assert keys.configured_ids == ["web1"]
        with pytest.raises(CannotStart):
            await keys.revoke("web1")


@pytest.mark.parametrize("link_key", ["one:" + "B" * 43, "two:" + "A" * 43, "two", "two:AAAA"])
def test_link_keys_are_apart_from_signing_keys(link_key):
    environment = {"GALLERY_ACCESS__SIGNING_KEYS": "one:" + "A" * 43, "GALLERY_ACCESS__LINK_KEYS": link_key}
    with pytest.raises(CannotStart, match="GALLERY_ACCESS__LINK_KEYS"):
        Access(Settings.read(environment), None)


async def test_an_operator_creates_lists_and_revokes_link_keys(environment):
    environment = {**environment, "GALLERY_ACCESS__LINK_KEYS": VECTORS["vectors"][0]["key"]}
    code, made, told = await run_command(environment, "keys", "links", "create", "--name", "shop", "--json")
    assert code == 0, told
    key = json.loads(made)
    assert re.fullmatch(rf"{key['id']}:[\w-]{{43}}", key["key"])
    _, text, told = await run_command(environment, "keys", "links", "create")
    assert re.fullmatch(r"lk_[0-9a-f]{16}:[\w-]{43}", text.strip())
    assert "shown only once" in told
    assert text.strip().partition(":")[2] not in told
    code, out, _ = await run_command(environment, "keys", "links", "revoke", key["id"])
    assert (code, out) == (0, f"The link key {key['id']} is revoked.\n")
    _, out, _ = await run_command(environment, "keys", "links", "list", "--json")
    *keys, summary = [json.loads(line) for line in out.splitlines()]
    assert [found["state"] for found in keys] == ["revoked", "valid", "configured"]
    assert (summary, "key" in keys[0]) == ({"keys": 3}, False)
    _, out, _ = await run_command(environment, "keys", "links", "list")
    assert [line.split()[1] for line in out.splitlines()] == ["STATE", "revoked", "valid", "configured"]
    code, _, told = await run_command(environment, "keys", "links", "revoke", "web1")
    assert code == 2
    assert "remove it from that variable" in told
