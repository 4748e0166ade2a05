"""No password of a URL is shown: not by `gallery config`, not in an error, and in no line of a log."""

import asyncio
import logging
import time

import httpx
import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

import gallery_processes
from credentials import bearer_headers, make_token, run_command
from gallery.doctor.model import Check, notice
from gallery.doctor.runner import _run_check
from gallery.errors import CannotStart, IssuerUnavailable, Misconfigured
from gallery.masking import MASK, masked, masked_url
from gallery.ops import logs
from gallery.settings import LogsSettings, Settings, all_settings

SECRET = "pa55w0rd"
TEXTS = [entry for entry in all_settings() if entry.variable != "GALLERY_FAULT" and "str" in str(entry.type)]
URLS = [
    f"https://maya:{SECRET}@host/path",
    f"postgresql://maya:{SECRET}@host:5432/db?sslmode=require",
    f"postgresql://host/db?password={SECRET}&user=maya",
    f"redis://:{SECRET}@host:6379/0",
    f"redis+cluster://maya:{SECRET}@a:1,b:2",
    f"redis://maya:{SECRET}@a:1,redis://maya:{SECRET}@b:2",
    f"postgresql://maya:{SECRET}@a/x,postgresql://maya:{SECRET}@b/x",
    f"https://host/keys?api_key={SECRET}",
    f"s3://{SECRET}:{SECRET}@bucket/prefix",
    f"https://maya:se/{SECRET}?x#y@host",
    f"https://maya:with a space {SECRET}@host",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("entry", TEXTS, ids=lambda entry: entry.variable)
def test_no_setting_shows_the_password_of_a_url(entry, url):
    try:
        output = str({found.path: value for found, value in Settings.read({entry.variable: url}).items()})
    except Misconfigured as error:
        output = error.detail + str(error)
    assert SECRET not in output


@pytest.mark.parametrize("url", [url for url in URLS if " " not in url])
def test_a_text_is_shown_without_its_secrets(url):
    text = f"cannot reach {url} : refused, ask maya@example.org"
    assert SECRET not in masked(text)
    assert masked(text).startswith("cannot reach ")
    assert masked(text).endswith(" : refused, ask maya@example.org")


@pytest.mark.parametrize(
    "text", ["https://host/path?page=2&limit=5", "maya@example.org", "redis://a:1,b:2", "key=x; token=y"]
)
def test_texts_without_secrets_stay(text):
    assert masked(text) == masked_url(text) == text


def test_masking_takes_linear_time():
    """An untrusted client may send a long path."""
    for text in ("a" * 60_000, "://a" * 15_000, "://?" + "key" * 20_000, "://@" * 15_000):
        began = time.perf_counter()
        masked(f"https://{text}")
        assert time.perf_counter() - began < 1


def test_errors_do_not_show_a_password():
    for url in URLS[:-2]:
        assert SECRET not in str(IssuerUnavailable(url=url))
        assert SECRET not in CannotStart(f"{url} is no object store.").detail


async def test_the_doctor_does_not_show_a_password(monkeypatch):
    class Context:
        def __init__(self):
            self.unusable, self.finished = set(), {"x": asyncio.Event()}

    async def check(_):
        return notice(f"Data sent to {URLS[0]}", f"Check {URLS[1]}", url=URLS[2])

    finding = await _run_check(Context(), Check("machine", "x", check))
    assert SECRET not in f"{finding}"


@pytest.mark.parametrize("format_", ["text", "json"])
def test_no_log_line_shows_a_password(restore_logging, capsys, format_):
    logs.configure(LogsSettings(format=format_))
    for url in URLS[:-1]:
        log = structlog.get_logger("test")
        log.info(url, url=url, deep={"a": [url, (url,)]}, error=ValueError(url))
        logging.getLogger("library").warning("no answer from %s", url)
        try:
            local = f"a value that a stack could show: {url}"
            raise ValueError(url)  # noqa: TRY301
        except ValueError:
            log.exception("failed", what=local[:5])
    output = capsys.readouterr().err
    assert output.count("Traceback") == len(URLS) - 1
    assert "a value that a stack could show" not in output.replace("local = f", "")
    assert SECRET not in output


# --- generated texts --------------------------------------------------------------------------------------------------

ANY_PASSWORD = st.text(alphabet="://@?&;=#%,.+-a1 '\"<>\t", max_size=12)
PLAIN_PASSWORD = st.text(alphabet="://@?;=#%,.+-a1", max_size=12)  # without characters that end a URL in a text
PARAMETERS = st.sampled_from(
    ["sig", "ticket", "password", "api_key", "X-Amz-Signature", "X-Amz-Security-Token", "access_token", "jwt"]
)


@given(ANY_PASSWORD, ANY_PASSWORD, st.sampled_from(["postgresql", "redis", "redis+cluster", "s3"]))
def test_no_password_in_a_url_is_shown(before, after, scheme):
    url = f"{scheme}://maya:{before}{SECRET}{after}@host:5432/db?x=y"
    assume(f",{scheme}://" not in url)
    assert SECRET not in masked_url(url)
    assert SECRET not in masked_url(f"{scheme}://a:1,{url}")


@given(PLAIN_PASSWORD, PLAIN_PASSWORD)
def test_no_password_in_a_text_is_shown(before, after):
    url = f"redis://maya:{before}{SECRET}{after}@host:6379/0"
    assume(",redis://" not in url)
    output = masked(f"refused: {url} (111)")
    assert SECRET not in output
    assert output.startswith("refused: redis://")
    assert output.endswith(" (111)")


@given(
    PARAMETERS,
    PLAIN_PASSWORD.filter(lambda t: "&" not in t),
    PLAIN_PASSWORD.filter(lambda t: "&" not in t),
    st.booleans(),
)
def test_no_secret_parameter_is_shown(name, before, after, with_host):
    path = f"/api/v1/images/1/original?exp=5&{name}={before}{SECRET}{after}&kid=1"
    text = f"https://host{path}" if with_host else path
    assert SECRET not in masked(f"GET {text} refused")
    assert SECRET not in masked_url(text)
    if not with_host:
        assert masked(f"GET {text} refused") == f"GET /api/v1/images/1/original?exp=5&{name}={MASK}&kid=1 refused"


@given(st.text(max_size=200))
def test_masking_changes_nothing_else(text):
    assume("=" not in text and "@" not in text)
    assert masked(text) == masked_url(text) == text


@given(st.text(alphabet="://@?&=aA sig,key\n", max_size=300))
def test_masking_twice_changes_nothing(text):
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://maya:a://b@host/db", f"postgresql://{MASK}@host/db"),
        ("https://host/x?sig=abc=def&exp=1", f"https://host/x?sig={MASK}&exp=1"),
        ("/stream?ticket=abc.def&types=a", f"/stream?ticket={MASK}&types=a"),
        ("https://host/p?token=a@b", f"https://{MASK}"),
        ("redis://u:p@a:1,redis://u:p@b:2", f"redis://{MASK}@a:1,redis://{MASK}@b:2"),
        ("https://host/x?design=blue&signal=1&outsig=2", "https://host/x?design=blue&signal=1&outsig=2"),
    ],
)
def test_masked_texts(text, shown):
    assert masked(text) == masked_url(text) == shown


# --- real servers that refuse ----------------------------------------------------------------------------------------


def unreachable_url(scheme: str, path: str = "") -> str:
    return f"{scheme}://maya:{SECRET}@127.0.0.1:{gallery_processes.free_port()}{path}"


async def test_config_prints_masked_values(environment):
    given = {
        "GALLERY_ACCESS__JWKS_URL": unreachable_url("https"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": unreachable_url("http"),
        "GALLERY_OBJECTS__URL": unreachable_url("s3"),
        "S3_ENDPOINT": unreachable_url("http"),
        "GALLERY_PUBLIC_URL": unreachable_url("https"),
        "DATABASE_URL": unreachable_url("postgresql"),
    }
    for words in (("config",), ("config", "--json")):
        code, out, err = await run_command({**environment, **given}, *words)
        assert code == 0
        assert SECRET not in out + err
        assert "127.0.0.1" in out, "the host may be shown"


@pytest.mark.parametrize(
    "given",
    [
        {"DATABASE_URL": None},
        {"DATABASE_URL": f"postgresql://maya:se/{SECRET}@host/db"},
        {"REDIS_URL": f"redis://maya:se/{SECRET}@host"},
        {"GALLERY_OBJECTS__URL": f"ftp://maya:{SECRET}@host"},
        {"GALLERY_OBJECTS__URL": f"s3://maya:{SECRET}@bad bucket"},
    ],
)
async def test_an_error_at_start_shows_no_password(environment, given):
    if given.get("DATABASE_URL", "") is None:
        head, _, tail = environment["DATABASE_URL"].rpartition("@")
        given = {"DATABASE_URL": f"{head.rpartition(':')[0]}:{SECRET}@{tail}"}
    code, out, err = await run_command({**environment, "GALLERY_LOGS__LEVEL": "debug", **given}, "serve")
    assert code == 2, err
    assert SECRET not in out + err


async def test_logs_of_unavailable_servers_show_no_password(environment, tmp_path):
    """A store, an issuer, a collector and a Valkey with wrong addresses and passwords, at the most verbose level."""
    store = {
        "GALLERY_OBJECTS__URL": "s3://bucket",
        "S3_ENDPOINT": unreachable_url("http"),
        "S3_ACCESS_KEY": "a",
        "S3_SECRET_KEY": "b",
    }
    verbose = {**environment, "GALLERY_LOGS__LEVEL": "debug", "PORT": str(gallery_processes.free_port())}
    async with gallery_processes.run_gallery({**verbose, **store}, tmp_path / "store", "serve") as serving:
        await serving.wait_for_event("objects.waiting")
    head, _, tail = environment["REDIS_URL"].partition("://")
    away = {
        "GALLERY_ACCESS__OPEN": "false",
        "GALLERY_ACCESS__JWKS_URL": unreachable_url("http", "/jwks"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": unreachable_url("http"),
        "REDIS_URL": f"{head}://maya:{SECRET}@{tail.rpartition('@')[2]}",
    }
    async with (
        gallery_processes.run_gallery({**verbose, **away}, tmp_path / "others", "serve") as api,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{verbose['PORT']}", timeout=20) as client,
    ):
        await api.wait_for_event("api.serving")
        assert (
            await client.get("/api/v1/images", headers=bearer_headers(make_token("maya", kid="x")))
        ).status_code in (401, 503)
        await api.stop()
    output = serving.log_text() + api.log_text()
    assert "objects.waiting" in output
    assert SECRET not in output
