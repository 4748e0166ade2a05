"""The log lines of requests: as structlog's in every field, written together, and in the order of all lines."""

import asyncio
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest
import structlog

import gallery_processes
from gallery.ops import logs, request_log, tracing
from gallery.ops.otlp import exporting
from gallery.ops.request_log import RequestFacts
from gallery.settings import LogsSettings
from otlp_collector import run_collector

PATHS = [
    "/api/v1/images",
    "/bilder/Übersicht \u202e\x9b\x00\x7f\n\"'\\😀",
    "/x?token=secret-of-a-client&a=b",
    "/https://maya:secret-of-a-client@example.org/",
    "",
]
FACTS = {
    "a read": RequestFacts("5f1c", "GET", "/api/v1/images", 200, 1.2),
    "of a key": RequestFacts("5f1c", "DELETE", "/api/v1/images/1", 403, 0.0, "key:0190-7e"),
    "without a response": RequestFacts("a:b=c/@+-", "POST", "/api/v1/images", None, 12345678.9),
    "an id that is a URL with a password": RequestFacts("http://a:secret-of-a-client@b", "GET", "/", 200, 1.0),
    "an invented method": RequestFacts("5f1c", "BREW!#$%&'*+.^_`|~", "/", 405, 1e-05),
    **{f"the path {path!a}": RequestFacts("5f1c", "GET", path, 404, 0.1) for path in PATHS},
}


class Writes(io.StringIO):
    """A stream that keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def write(self, text: str) -> int:
        self.all.append(text)
        return len(text)


@pytest.fixture
def stderr(restore_logging, monkeypatch) -> Writes:
    """The writes to stderr of a log in JSON, at the level info."""
    writes = Writes()
    monkeypatch.setattr(sys, "stderr", writes)
    logs.configure(LogsSettings(format="json"), process="api")
    return writes


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
async def test_a_line_is_the_one_of_structlog(stderr, facts):
    request_log.write(logging.INFO, facts)
    request_log.use(None)
    request_log.write(logging.INFO, facts)
    ours, structlogs = map(json.loads, stderr.all)
    for line in (ours, structlogs):
        line["timestamp"] = re.sub(r"\d", "9", line["timestamp"])
    assert ours == structlogs
    assert stderr.all[0].isascii()
    assert stderr.all[0].count("\n") == 1
    assert "secret-of-a-client" not in stderr.all[0]


async def test_a_line_has_the_ids_of_its_trace(stderr):
    with run_collector() as collector, exporting(f"{collector.url}/v1/traces", "gallery-api"):
        with tracing.span("GET", "SERVER"):
            request_log.write(logging.INFO, FACTS["a read"])
            request_log.use(None)
            request_log.write(logging.INFO, FACTS["a read"])
        ours, structlogs = (list(json.loads(line).items())[-2:] for line in stderr.all)
    assert ours == structlogs
    assert [name for name, _ in ours] == ["trace_id", "span_id"]


async def test_the_fields_stand_in_the_order_of_structlog(stderr):
    request_log.write(logging.INFO, FACTS["a read"])
    request_log.use(None)
    request_log.write(logging.INFO, FACTS["a read"])
    ours, structlogs = ([*json.loads(line)] for line in stderr.all)
    fields_of_a_context = {"request", "caller"}  # in any order there
    assert [f for f in ours if f not in fields_of_a_context] == [f for f in structlogs if f not in fields_of_a_context]


@pytest.mark.parametrize(("level", "events"), [("debug", ["a", "b"]), ("info", ["b"]), ("warning", [])])
async def test_lines_below_the_level_are_not_written(restore_logging, capsys, level, events):
    logs.configure(LogsSettings(format="json", level=level))
    request_log.write(logging.DEBUG, RequestFacts("a", "GET", "/livez", 200, 1.0))
    request_log.write(logging.INFO, RequestFacts("b", "GET", "/", 200, 1.0))
    logging.shutdown()
    assert [line["request"] for line in json_lines(capsys.readouterr().err)] == events


async def test_on_a_terminal_a_request_is_text(restore_logging, capsys):
    logs.configure(LogsSettings(format="text"))
    request_log.write(logging.INFO, FACTS["of a key"])
    line = capsys.readouterr().err
    assert all(part in line for part in ("request", "DELETE", "/api/v1/images/1", "403", "key:0190-7e", "5f1c"))
    assert "{" not in line


async def test_lines_are_written_together_within_50_ms(stderr):
    for number in range(5):
        request_log.write(logging.INFO, numbered(number))
    assert stderr.all == []
    await asyncio.sleep(0.1)
    assert numbers(stderr) == list(range(5))
    assert len([text for text in stderr.all if text]) == 1
    request_log.write(logging.INFO, numbered(5))
    await asyncio.sleep(0.1)
    assert numbers(stderr) == list(range(6))


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_every_other_line_keeps_its_place(restore_logging, capsys, level):
    logs.configure(LogsSettings(format="json", level="debug"))
    request_log.write(logging.INFO, numbered(1))
    getattr(structlog.get_logger("test"), level)("between")
    assert [line["event"] for line in json_lines(capsys.readouterr().err)] == ["request", "between"]
    request_log.write(logging.INFO, numbered(2))
    logging.getLogger("a.library").log(logging.getLevelNamesMapping()[level.upper()], "after")
    assert [line["event"] for line in json_lines(capsys.readouterr().err)] == ["request", "after"]


async def test_what_waits_is_bounded_and_each_write_has_whole_lines(stderr):
    """A pipe keeps a write of up to `PIPE_BUF` bytes together when several processes write to it."""
    lines = 500
    for number in range(lines):
        request_log.write(logging.INFO, numbered(number))
    assert len(stderr.all) > lines / 40
    assert max(map(len, stderr.all)) <= request_log.MAX_CHARS
    assert min(map(len, stderr.all)) > request_log.MAX_CHARS / 2
    assert all(text.endswith("}\n") for text in stderr.all)
    await asyncio.sleep(0.1)
    assert numbers(stderr) == list(range(lines))


async def test_a_line_longer_than_a_write_is_written_alone(stderr):
    path = "/" + "x" * 60_000
    for facts in (numbered(0), RequestFacts("long", "GET", path, 404, 1.0), numbered(1)):
        request_log.write(logging.INFO, facts)
    logging.shutdown()
    assert [len(text) > request_log.MAX_CHARS for text in stderr.all if text] == [False, True, False]
    assert [line["path"] for line in json_lines("".join(stderr.all))] == ["/", path, "/"]


async def test_a_log_that_cannot_be_written_is_reported_and_used_again(stderr, monkeypatch):
    failures = []
    handler = logging.getLogger().handlers[0]
    monkeypatch.setattr(handler, "handleError", failures.append)
    monkeypatch.setattr(stderr, "write", raise_full)
    request_log.write(logging.INFO, numbered(1))
    await asyncio.sleep(0.1)
    assert len(failures) == 1
    monkeypatch.undo()
    request_log.write(logging.INFO, numbered(2))
    handler.flush()
    assert numbers(stderr) == [2]


WRITER = """
import asyncio, logging, sys
from gallery.ops import logs, request_log
from gallery.settings import LogsSettings

async def write(lines):
    for number in range(lines):
        request_log.write(logging.INFO, request_log.RequestFacts(str(number), "GET", "/", 200, 1.0))
        if number % 100 == 0:
            await asyncio.sleep(0)

logs.configure(LogsSettings(format="json"), process="api")
asyncio.run(write(int(sys.argv[1])))
"""


@pytest.mark.parametrize("lines", [1, 3000])
def test_no_line_is_lost_at_the_end_or_by_a_slow_reader(lines):
    """3,000 lines are more than a pipe holds: the process waits for its reader."""
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(lines)], stderr=subprocess.PIPE)
    if lines > 1:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(3)
    written = child.communicate(timeout=20)[1].decode()
    assert child.returncode == 0
    assert [int(line["request"]) for line in json_lines(written)] == list(range(lines))


def test_processes_do_not_mix_their_lines_in_a_pipe():
    reader, writer = os.pipe()
    children = [subprocess.Popen([sys.executable, "-c", WRITER, "3000"], stderr=writer) for _ in range(3)]
    os.close(writer)
    with os.fdopen(reader) as pipe:
        written = pipe.read()
    assert [child.wait(20) for child in children] == [0, 0, 0]
    assert sorted(int(line["request"]) for line in json_lines(written)) == sorted([*range(3000)] * 3)


async def test_sigterm_loses_no_line_and_sigkill_only_the_last_50_ms(environment, tmp_path):
    logged = {**environment, "GALLERY_LOGS__FORMAT": "json"}
    async with gallery_processes.api(logged, tmp_path) as api, httpx.AsyncClient(base_url=api.url) as client:
        for number in range(10):
            await client.get("/api/v1/images", headers={"X-Request-Id": f"terminated-{number}"})
        await api.stop(signal.SIGTERM)
        assert {f"terminated-{number}" for number in range(10)} <= requests_in(api)
    async with gallery_processes.api(logged, tmp_path) as api, httpx.AsyncClient(base_url=api.url) as client:
        await client.get("/api/v1/images", headers={"X-Request-Id": "killed"})
        await asyncio.sleep(0.5)
        await api.stop(signal.SIGKILL)
        assert "killed" in requests_in(api)


def requests_in(api: gallery_processes.RunningProcess) -> set[str]:
    return {line["request"] for line in api.log_lines("request")}


def numbered(number: int) -> RequestFacts:
    return RequestFacts(str(number), "GET", "/", 200, 1.0)


def numbers(writes: Writes) -> list[int]:
    return [int(line["request"]) for line in json_lines("".join(writes.all))]


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def raise_full(_: str) -> int:
    raise OSError(28, "No space left on device")
