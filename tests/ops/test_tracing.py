"""One trace from a request to READY, as a collector receives it from the real processes."""

import secrets
import threading

import httpx
import pytest

import gallery_processes
from conftest import running_application
from factories import post, upload_image, wait_until_settled
from gallery.ops import otlp as otlp_export
from gallery.ops import tracing
from gallery.ops.otlp import statement_summary
from gallery.settings import Settings
from otlp_collector import run_collector

TITLE = "A title that no span contains"


async def test_one_trace_from_the_request_to_ready(environment, tmp_path, s3):
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    with run_collector() as collector:
        traced = {
            **environment,
            **s3,
            "S3_BUCKET": f"traced-{secrets.token_hex(4)}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        async with (
            gallery_processes.api(traced, tmp_path) as api,
            gallery_processes.worker(traced, tmp_path) as worker,
            httpx.AsyncClient(base_url=api.url, timeout=20) as client,
        ):
            image = await post(client, title=TITLE, headers={"traceparent": f"00-{trace}-{caller}-01"})
            assert (await wait_until_settled(client, image.json()["id"]))["status"] == "READY"
            line = await worker.wait_for_event("image.ready")

    request = next(s for s in collector.find_spans("POST /api/v1/images"))
    assert (request.service, request.kind, request.trace, request.parent) == ("gallery-api", "SERVER", trace, caller)
    assert request.attributes["http.response.status_code"] == 201
    mine = [s for s in collector.spans if s.trace == trace]

    def path(name):
        found = next(s for s in mine if s.name == name)
        return [f"{found.service}: {found.name}", *collector.ancestors(found)]

    request_span = "gallery-api: POST /api/v1/images"
    job_spans = ["gallery-worker: process image-processing", "gallery-api: send image-processing", request_span]
    assert path("INSERT image") == ["gallery-api: INSERT image", request_span]
    assert path("objects put") == ["gallery-api: objects put", request_span]
    assert path("objects get") == ["gallery-worker: objects get", "gallery-worker: image fetch", *job_spans]
    assert path("image render") == ["gallery-worker: image render", *job_spans]
    settling = [
        s for s in mine if s.name == "UPDATE image" and "gallery-worker: image settle" in collector.ancestors(s)
    ]
    assert collector.ancestors(settling[0]) == ["gallery-worker: image settle", *job_spans]
    put = [s for s in mine if s.name == "objects put" and s.service == "gallery-worker"]
    assert [s.attributes["gallery.object.count"] for s in put] == [6], "all renditions of an image in one call"
    assert all(s.kind == "CLIENT" for s in (*put, *settling))

    assert settling[0].attributes["db.query.text"].strip().startswith("UPDATE image SET")
    assert TITLE not in str(collector.spans), "statements carry no values"
    assert line["trace_id"] == trace, "the log lines must carry the trace"
    assert line["span_id"] == next(s.id for s in mine if s.name == "process image-processing")
    roots = [s for s in collector.spans if s.kind == "CLIENT" and not s.parent]
    assert roots == [], "background work is not traced"


@pytest.fixture
async def traced_application(environment, monkeypatch):
    """An application in this process that sends traces, its client, and the collector."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with run_collector() as collector, otlp_export.exporting(f"{collector.url}/v1/traces", "gallery-api"):
        async with running_application(environment) as (gallery, client):
            yield gallery, client, collector


async def test_failed_spans_are_marked_without_the_error_text(traced_application):
    gallery, client, collector = traced_application
    with tracing.span("a request", "SERVER"):
        with pytest.raises(ZeroDivisionError), tracing.span("a mistake"):
            raise ZeroDivisionError("with private data")
        with pytest.raises(Exception, match="does not exist"):
            async with gallery.database.primary() as db:
                await db.fetch("SELECT 'data' FROM nowhere")
    await client.get("/api/v1/images/not-an-id")
    mistake = await collector.wait_for_span("a mistake")
    statement = await collector.wait_for_span("SELECT nowhere")
    refused = await collector.wait_for_span("GET /api/v1/images/{image_id}")
    assert (mistake.failed, mistake.attributes["error.type"]) == (True, "ZeroDivisionError")
    assert (statement.failed, statement.attributes["error.type"]) == (True, "UndefinedTableError")
    assert not refused.failed, "a client error is not a failure of the server"
    assert "private data" not in str(collector.spans)


async def test_unsampled_requests_and_background_work_have_no_spans(traced_application):
    gallery, client, collector = traced_application
    trace = secrets.token_hex(16)
    await upload_image(gallery)  # outside a request
    await client.get("/api/v1/images", headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"})
    await client.get("/livez", headers={"traceparent": "00-nonsense"})
    await collector.wait_for_span("GET /livez")
    assert [s for s in collector.spans if s.trace == trace] == []
    assert {s.name for s in collector.spans} == {"GET /livez"}, "calls outside a request must have no spans"


async def test_an_unavailable_collector_delays_nothing(environment, monkeypatch):
    monkeypatch.setattr("gallery.ops.otlp.SHUTDOWN_TIMEOUT_SECONDS", 0.5)
    with otlp_export.exporting("http://127.0.0.1:1/v1/traces", "gallery-api"):
        async with running_application(environment) as (_, client):
            assert (await post(client)).status_code == 201
    assert not tracing.is_enabled()
    for thread in threading.enumerate():  # else it would retry during the next tests
        if thread.name == "trace shutdown":
            thread.join(60)
            assert not thread.is_alive()


async def test_without_an_endpoint_there_are_no_spans_and_no_context(gallery, client):
    assert tracing.span("x", "SERVER") is tracing.span("y", "CLIENT") is tracing.NOOP_SPAN
    assert tracing.current_context() == {}
    image = await upload_image(gallery)
    jobs = [job for bull in gallery.queue._shards for job in await bull.getJobs(["prioritized"])]
    assert [job.data for job in jobs] == [{"id": image.id}]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://agent:4318/"}, "http://agent:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://agent/take"}, "http://agent/take"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://b/c"},
            "https://b/c",
        ),
    ],
)
def test_the_url_for_traces(given, url):
    assert Settings.read(given).tracing.url == url


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("SELECT id FROM image WHERE id = $1", "SELECT image"),
        ("\n    UPDATE image SET x = 1 RETURNING true", "UPDATE image"),
        ("WITH quick AS (SELECT 1) INSERT INTO object (key) SELECT unnest($1::text[]) FROM quick", "INSERT object"),
        ("DELETE FROM timeline WHERE id <= (SELECT id FROM timeline)", "DELETE timeline"),
        ("COMMIT;", "COMMIT"),
        ("SELECT 1", "SELECT"),
    ],
)
def test_the_summary_of_a_statement(statement, name):
    assert statement_summary(statement) == name
