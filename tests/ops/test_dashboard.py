"""The dashboard and the alerts query existing metrics: names and labels of every query, compared with real scrapes."""

import asyncio
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml
from redis.exceptions import AuthenticationError

import photos
from conftest import running_application
from factories import listen, post
from gallery.backup.store import mark_verified
from gallery.cli import sockets
from gallery.errors import ValkeyRefused, ValkeyUnavailable
from gallery.web.app import make_worker_app
from gallery.web.server import Server
from gallery.wiring import open_processing
from scraping import scrape

DEPLOY = Path(__file__).parents[2] / "deploy"
METRIC_PATTERN = re.compile(r"\b((?:gallery|process)_\w+)(?:\{([^}]*)\})?")
LABEL_PATTERN = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUP_BY_PATTERN = re.compile(r"\bby \(([^)]*)\)")
PROMETHEUS_LABELS = {"job", "instance", "le"}


def dashboard():
    return json.loads((DEPLOY / "grafana" / "gallery.json").read_text())


def rules():
    (group,) = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return group["rules"]


def queries():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


@asynccontextmanager
async def serve_app(app, gallery):
    """A client of the app."""
    server = Server(app, before_stop=lambda: None, settings=gallery.settings.serve)
    with sockets.listen("127.0.0.1", 0) as sock:
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=20) as client:
            yield client
        server.stop()
        await serving


@pytest.fixture
async def known_labels(environment):
    """The labels of each metric, from an API and a worker in which everything has happened once."""
    limits = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__UPLOADS": "2 per 60"}
    async with running_application(environment, **limits) as (gallery, client), open_processing(gallery) as processing:
        async with listen(client) as listener:
            for content in (photos.a_jpeg(), photos.a_jpeg()[:5000], b""):
                answer = await post(client, content)
                if answer.status_code == 201:
                    await listener.next("image.uploaded")
                    await processing.process(answer.json()["id"])
        assert answer.status_code == 429
        await client.get("/api/v1/images")
        await gallery.sweep.run()
        await mark_verified(gallery.database, str(uuid4()), "somewhere", datetime.now(UTC))
        with pytest.raises(ValkeyUnavailable):
            await gallery.valkey.call(raise_os_error)
        await gallery.valkey.ping()  # and it is available again
        with pytest.raises(ValkeyRefused):
            await gallery.valkey.call(raise_authentication_error)
        await gallery.valkey.ping()
        async with serve_app(make_worker_app(gallery), gallery) as worker_client:
            scrapes = [await scrape(client), await scrape(worker_client)]
    return {sample.name: set(sample.labels) for scrape in scrapes for sample in scrape.samples}


async def raise_os_error(_):
    raise OSError


async def raise_authentication_error(_):
    raise AuthenticationError


async def test_every_query_uses_existing_metrics_and_labels(known_labels):
    found_queries = list(queries())
    assert len(found_queries) > 40
    for title, query in found_queries:
        found = METRIC_PATTERN.findall(query)
        names = {name for name, _ in found}
        assert names <= known_labels.keys(), title
        labels = {label for _, matchers in found for label in LABEL_PATTERN.findall(matchers)}
        labels |= {label.strip() for group in GROUP_BY_PATTERN.findall(query) for label in group.split(",")}
        assert labels <= PROMETHEUS_LABELS.union(*(known_labels[name] for name in names)), title


def test_panels_do_not_overlap_and_are_described():
    board = dashboard()
    taken = {}
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken.keys(), (panel["title"], taken[next(iter(cells & taken.keys()))])
        assert grid["x"] + grid["w"] <= 24
        taken |= dict.fromkeys(cells, panel["title"])
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "job"]


def test_every_alert_has_texts_and_a_severity():
    for rule in rules():
        assert rule["annotations"]["summary"], rule
        assert rule["annotations"]["description"], rule
        assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' own checker is not installed here")
def test_prometheus_accepts_the_rules():
    subprocess.run(["promtool", "check", "rules", DEPLOY / "prometheus" / "alerts.yml"], check=True)
