"""Everything hostile that we could think of, through the real API and a real worker: each file costs itself at most."""

import asyncio
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

import photos
from factories import post, wait_until_settled
from gallery_processes import RunningGallery, RunningProcess, api, worker
from hostile import pictures
from hostile.builders import MARKER

MIB = 1 << 20
MAX_CONCURRENT = 8
TIMEOUT_SECONDS = 240  # for more than 500 files, also on a busy machine
CODE = re.compile(r"[a-z]+(_[a-z]+)*")
ALLOWED_OUTCOMES = {
    "ready": {"READY"},
    "refused": {"400", "413", "415", "422"},
    "bad": {"415", "422", "FAILED"},
    "any": {"415", "422", "FAILED", "READY"},
}
ALLOWED_PARTS = {  # the only parts of a rendition
    "webp": {b"VP8 ", b"VP8L", b"VP8X", b"ALPH"},
    "jpeg": {0xE0, 0xDB, 0xC0, 0xC4, 0xDA},  # JFIF, tables and the picture
}


@dataclass
class Outcomes:
    """The results of the files by name: a status of HTTP or of the image."""

    final_status: dict[str, str] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
async def test_hostile_pictures_harm_nothing_else(environment, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    given = {**environment, "TMPDIR": str(scratch), "GALLERY_RATE__ENABLED": "false"}
    async with (
        api(given, tmp_path / "logs") as server,
        worker(given, tmp_path / "logs") as hands,
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
    ):
        await wait_until_settled(client, (await post(client, photos.a_twelve_megapixel_photo())).json()["id"])
        before = _memory(server)
        outcome = await _send_all(client, pictures.all_files())
        good = await wait_until_settled(client, (await post(client, photos.a_jpeg(seed=99))).json()["id"])

        assert outcome.problems == []
        assert _unexpected(outcome) == {}
        assert good["status"] == "READY"
        assert hands.process.returncode is None
        _check_processes(server, hands, before)
        assert list(scratch.rglob("*/*")) == [], "no scratch file is left"
        await _check_no_metadata(client, outcome)
        assert "Traceback" not in server.log_text() + hands.log_text()


async def test_the_files_are_the_same_in_every_run():
    files = pictures.all_files()
    assert files == pictures.all_files()
    assert len(files) > 500


async def _send_all(client: httpx.AsyncClient, files: dict[str, bytes]) -> Outcomes:
    outcome, slots = Outcomes(), asyncio.Semaphore(MAX_CONCURRENT)

    async def one(name: str, file: bytes) -> None:
        async with slots:
            answer = await post(client, file, name=f"{name.rpartition('/')[2]}.jpg")
        outcome.final_status[name] = str(answer.status_code)
        if answer.status_code == 201:
            outcome.images[name] = answer.json()
        elif answer.headers["content-type"] != "application/problem+json":
            outcome.problems.append(f"{name}: {answer.status_code} {answer.text[:100]}")

    await asyncio.gather(*(one(name, file) for name, file in files.items()))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await _wait_for_all(client, outcome)
    return outcome


async def _wait_for_all(client: httpx.AsyncClient, outcome: Outcomes) -> None:
    waiting = {image["id"]: name for name, image in outcome.images.items()}
    while waiting:
        for identity, name in list(waiting.items()):
            image = (await client.get(f"/api/v1/images/{identity}")).json()
            if image["status"] in ("READY", "FAILED"):
                outcome.final_status[name], outcome.images[name] = image["status"], image
                outcome.problems += _faults(name, image)
                del waiting[identity]
            else:
                await asyncio.sleep(0.05)


def _faults(name: str, image: dict[str, Any]) -> Iterator[str]:
    error = image["error"]
    if (image["status"] == "FAILED") != (error is not None):
        yield f"{name}: {image['status']} with {error}"
    elif error and not (CODE.fullmatch(error["code"]) and 10 < len(error["message"]) < 300):
        yield f"{name}: {error}"
    if image["width"] and image["width"] * image["height"] > 200_000_000:
        yield f"{name}: {image['width']} x {image['height']}"


def _unexpected(outcome: Outcomes) -> dict[str, str]:
    return {
        name: end
        for name, end in outcome.final_status.items()
        if end not in ALLOWED_OUTCOMES[pictures.expected_outcome(name)]
    }


# --- the processes --------------------------------------------------------------------------------------------------


def _memory(process: RunningProcess) -> int:
    return int(psutil.Process(process.pid).memory_info().rss)


def _check_processes(server: RunningGallery, hands: RunningProcess, before: int) -> None:
    children = psutil.Process(hands.pid).children(recursive=True)
    of_children = [child.memory_info().rss for child in children]
    strikes = Counter(line["error"].partition(":")[0] for line in hands.log_lines("image.strike"))
    print(  # noqa: T201 - for runs with -s
        f"api {before // MIB} → {_memory(server) // MIB} MiB, worker {_memory(hands) // MIB} MiB,",
        f"renderers {[rss // MIB for rss in of_children]} MiB, strikes {dict(strikes)}",
    )
    assert _memory(server) < before + 60 * MIB
    assert _memory(hands) < 250 * MIB
    assert sum(of_children) < 1200 * MIB
    assert strikes["renderer_timed_out"] == 0


# --- no metadata in renditions ------------------------------------------------------------------------------------


async def _check_no_metadata(client: httpx.AsyncClient, outcome: Outcomes) -> None:
    """A rendition has none of the file's metadata, and the image only the camera's settings."""
    for name, image in outcome.images.items():
        fields = str({key: value for key, value in image.items() if key not in ("title", "originalName")})
        assert MARKER.decode() not in fields, name
        for rendition in image["renditions"]:
            file = (await client.get(rendition["url"])).content
            assert MARKER not in file, name
            assert set(_parts(file, rendition["format"])) <= ALLOWED_PARTS[rendition["format"]], name


def _parts(file: bytes, kind: str) -> Iterator[bytes | int]:
    at = 12 if kind == "webp" else 2
    while at < len(file):
        if kind == "webp":
            yield file[at : at + 4]
            size = int.from_bytes(file[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
            continue
        _, marker, length = struct.unpack(">BBH", file[at : at + 4])
        yield marker
        if marker == 0xDA:
            break
        at += 2 + length


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_the_search_for_parts_finds_foreign_parts(kind):
    noisy = photos.a_jpeg(64, 48, comment=MARKER) if kind == "jpeg" else photos.a_webp(64, 48, orientation=6)
    assert not set(_parts(noisy, kind)) <= ALLOWED_PARTS[kind]
