"""Settings: read once, from a mapping, with errors that name the variable."""

import pytest

from gallery.errors import Misconfigured
from gallery.settings import (
    Settings,
    ValkeyNodes,
    all_settings,
    find_unknown_variables,
    parse_origins,
    parse_picture_formats,
    parse_postgres_urls,
    parse_rendition_formats,
    parse_widths,
)


def test_defaults_are_those_of_a_laptop():
    settings = Settings.read({})
    assert (settings.port, settings.host, settings.database.url, settings.s3.bucket) == (3000, "127.0.0.1", None, None)


def test_variables_with_and_without_a_prefix():
    settings = Settings.read(
        {"PORT": "8080", "DATABASE_URL": "postgresql://x", "S3_BUCKET": "b", "GALLERY_UPLOAD__MAX_BYTES": "5", "X": "y"}
    )
    assert (settings.port, settings.database.url, settings.s3.bucket) == (8080, "postgresql://x", "b")
    assert settings.upload.max_bytes == 5


def test_an_empty_value_counts_as_not_set():
    assert Settings.read({"PORT": "", "REDIS_URL": ""}) == Settings()


@pytest.mark.parametrize("text", ["true", "1", "TRUE", "True"])
def test_spellings_of_true(text):
    assert Settings.read({"WORKER_MODE": text}).worker_mode is True


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "many", "int"),
        ("PORT", "70000", "<= 65535"),
        ("GALLERY_WORKER__CONCURRENCY", "0", ">= 1"),
        ("GALLERY_LOGS__LEVEL", "loud", "debug|info"),
        ("GALLERY_CACHE__ENABLED", "perhaps", "bool"),
    ],
)
def test_an_invalid_value_is_named_with_the_expected_form(name, value, expected):
    with pytest.raises(Misconfigured) as raised:
        Settings.read({name: value})
    assert raised.value.detail.startswith(f"{name} is '{value}': ")
    assert expected in raised.value.detail


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("redis://:pw@a:1/3", None),
        ("rediss://a", None),
        ("redis+cluster://a:1", ["redis://a:1"]),
        ("redis+cluster://me:pw@a:1,b:2/0", ["redis://me:pw@a:1", "redis://me:pw@b:2"]),
        ("redis://a:1, redis://b:2", ["redis://a:1", "redis://b:2"]),
        ("rediss://:pw@a:1,rediss://:pw@b:2", ["rediss://:pw@a:1", "rediss://:pw@b:2"]),
    ],
)
def test_a_cluster_is_named_by_its_scheme_or_by_several_nodes(text, urls):
    assert ValkeyNodes.parse(text) == (
        ValkeyNodes([text], cluster=False) if urls is None else ValkeyNodes(urls, cluster=True)
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REDIS_URL", "http://me:secret@a", "redis+cluster://"),
        ("REDIS_URL", "redis+cluster://:secret@a:1,b:2/3", "no database other than 0"),
        ("GALLERY_CACHE__URL", "secret", "redis://"),
        ("DATABASE_READ_REPLICA_URL", "mysql://me:secret@a/x", "postgresql://"),
    ],
)
def test_an_invalid_address_is_named_without_its_secret(name, value, expected):
    with pytest.raises(Misconfigured) as raised:
        Settings.read({name: value})
    assert raised.value.detail.startswith(f"{name} is '********': ")
    assert expected in raised.value.detail
    assert "secret" not in raised.value.detail


def test_a_replica_may_have_several_hosts():
    assert parse_postgres_urls("postgresql://a:1,b:2/x, postgresql://c/x") == [
        "postgresql://a:1,b:2/x",
        "postgresql://c/x",
    ]


def test_a_misspelt_setting_is_found_with_the_right_one():
    assert find_unknown_variables({"GALLERY_UPLOAD__MAX_BITES": "1", "PATH": "x"}) == {
        "GALLERY_UPLOAD__MAX_BITES": "GALLERY_UPLOAD__MAX_BYTES"
    }


def test_the_variables_of_the_client_are_known():
    assert find_unknown_variables({"GALLERY_URL": "u", "GALLERY_TOKEN": "t", "GALLERY_LINK_KEY": "k"}) == {}
    assert find_unknown_variables({"GALLERY_TOKENS": "t"}) == {"GALLERY_TOKENS": "GALLERY_TOKEN"}


def test_secrets_are_masked():
    shown = {
        e.variable: v for e, v in Settings.read({"DATABASE_URL": "postgresql://a:b@c", "S3_SECRET_KEY": "s"}).items()
    }
    assert shown["DATABASE_URL"] == shown["S3_SECRET_KEY"] == "********"
    assert shown["REDIS_URL"] is None


def test_every_setting_has_a_description():
    assert [e.variable for e in all_settings() if not e.description] == []


@pytest.mark.parametrize("end", ["", "/", "//", " ", "/ "])
@pytest.mark.parametrize("name", ["GALLERY_PUBLIC_URL", "S3_ENDPOINT", "GALLERY_BACKUP__ENDPOINT"])
def test_a_slash_at_the_end_of_a_base_url_is_removed(name, end):
    settings = {
        entry.variable: value for entry, value in Settings.read({name: f" https://x.example.org/y{end}"}).items()
    }
    assert settings[name] == "https://x.example.org/y"


def test_an_origin_may_end_with_a_slash_and_a_jwks_url_stays_as_it_is():
    assert parse_origins("https://a.example.org/ , https://b.example.org") == {
        "https://a.example.org",
        "https://b.example.org",
    }
    settings = Settings.read({"GALLERY_ACCESS__JWKS_URL": " https://id.example.org/keys/?policy=a "})
    assert settings.access.jwks_url == "https://id.example.org/keys/?policy=a"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GALLERY_PUBLIC_URL", "https://img.example.org/?a=b", "without a query"),
        ("GALLERY_PUBLIC_URL", "https://img.example.org/?", "without a query"),
        ("GALLERY_PUBLIC_URL", "https://img.example.org/#top", "without a fragment"),
        ("GALLERY_PUBLIC_URL", "img.example.org", "https://host"),
        ("GALLERY_PUBLIC_URL", "https://img.example.org/a b", "https://host"),
        ("S3_ENDPOINT", "127.0.0.1:9000", "https://host"),
        ("S3_ENDPOINT", "http://minio:9000/?x", "without a query"),
        ("GALLERY_ACCESS__JWKS_URL", "id.example.org/jwks", "https://host"),
    ],
)
def test_an_unusable_url_is_explained(name, value, expected):
    with pytest.raises(Misconfigured, match=expected) as raised:
        Settings.read({name: value})
    assert raised.value.detail.startswith(f"{name} is '{value}': ")


def test_widths_are_read_from_a_list():
    assert parse_widths(Settings().renditions.widths) == (320, 960, 1920)
    assert parse_widths(" 16, 8192") == (16, 8192)


def test_formats_are_read_in_any_order_the_best_first():
    assert parse_rendition_formats("JPEG, avif") == ("avif", "jpeg")
    assert parse_picture_formats("png,jpeg,webp,avif,png") == ("avif", "webp", "jpeg", "png")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(
            ("GALLERY_RENDITIONS__WIDTHS", value, "from 16 to 8192")
            for value in ("15", "8193", "320,", "a", "1.5", "-1")
        ),
        ("GALLERY_RENDITIONS__WIDTHS", ",".join(str(width) for width in range(100, 113)), "up to 12"),
        *(("GALLERY_RENDITIONS__WIDTHS", value, "ascending") for value in ("960,320", "320,320")),
        *(("GALLERY_RENDITIONS__FORMATS", value, "avif, webp, jpeg,") for value in ("png", "webp,gif", ",")),
        ("GALLERY_RENDITIONS__QUALITY_WEBP", "101", "<= 100"),
        ("GALLERY_PICTURES__FORMATS", "webp jpeg", "avif, webp, jpeg, png,"),
        ("GALLERY_PICTURES__ANONYMOUS", "all", "presets|any|none"),
        ("GALLERY_PICTURES__BUDGET", "0", "> 0"),
    ],
)
def test_an_invalid_setting_of_pictures_is_explained(name, value, expected):
    with pytest.raises(Misconfigured) as raised:
        Settings.read({name: value})
    assert raised.value.detail.startswith(f"{name} is '{value}': ")
    assert expected in raised.value.detail


def test_presets_have_any_names_in_lower_case():
    given = {"GALLERY_PRESETS__CARD_2": "w=400", "GALLERY_PRESETS__avatar": "w=96&h=96", "GALLERY_PRESETS__OLD": ""}
    settings = Settings.read(given)
    assert settings.presets == {"avatar": "w=96&h=96", "card_2": "w=400"}
    assert find_unknown_variables(given) == {}
    shown = {entry.variable: value for entry, value in settings.items()}
    assert shown["GALLERY_PRESETS__AVATAR"] == "w=96&h=96"
    assert shown["GALLERY_PRESETS__CARD_2"] == "w=400"
    assert not any("<" in variable for variable in shown)


@pytest.mark.parametrize("name", ["", "<NAME>", "ÄPFEL", "A B", "A.B", "A" * 65])
def test_an_invalid_name_of_a_preset_is_explained(name):
    with pytest.raises(Misconfigured, match="up to 64 letters") as raised:
        Settings.read({f"GALLERY_PRESETS__{name}": "w=1"})
    assert raised.value.detail.startswith(f"GALLERY_PRESETS__{name} is 'w=1': ")


def test_a_preset_has_one_variable():
    with pytest.raises(Misconfigured, match="one variable for the preset avatar"):
        Settings.read({"GALLERY_PRESETS__AVATAR": "w=1", "GALLERY_PRESETS__Avatar": "w=2"})
