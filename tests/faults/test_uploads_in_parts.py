"""Uploads in several requests, by tus and direct, while processes die and servers are lost."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from faults.checker import check
from faults.conftest import INTENSITY
from faults.deployment import Deployment
from faults.intensity import in_full_only
from faults.leftovers import check_nothing_left
from faults.load import ReceivedEvents, listen
from faults.part_load import PART_BYTES, Sender, padded
from gallery.uploads.upload_rows import HOLD_PERIOD
from gallery_processes import api, free_port

MIB = 1024 * 1024
IN_FULL = INTENSITY == "long"
SIZE = 20 * MIB + 1  # two parts and a small one
TUS_JS_PAUSES = (0, 1, 3, 5)  # tus-js-client's own `retryDelays`, in seconds
SHARES = (0.1, 0.5, 0.99)  # of a file that is sent when its process dies
END_HOLDS = "UPDATE upload SET held_until = now() WHERE holder IS NOT NULL"
RECEIVED = "SELECT sum(received) FROM upload"
STEPS = (  # a failpoint, the largest request
    ("upload-part-put", 3 * MIB),
    ("upload-part-put:2", None),
    ("upload-part-added", 3 * MIB),
    ("upload-part-added:2", None),
    ("upload-begun", None),
    ("upload-assembled", None),
    ("upload-committed", None),
    ("upload-answer", None),
)
SHORT_STEPS = {  # different ones for each store
    "files": ("upload-assembled",),
    "s3": ("upload-part-put",),
}


on_s3 = pytest.mark.parametrize("uploading", ["s3"], indirect=True)
on_s3_at_least = pytest.mark.parametrize("uploading", ["files", "s3"] if IN_FULL else ["s3"], indirect=True)


@pytest.fixture(params=["files", "s3"])
async def uploading(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> Deployment:
    """A deployment with large uploads, a worker, and one of the two stores."""
    if request.param == "files":
        deployment.use_file_store(tmp_path / "data")
    for environment in (deployment.environment, deployment.direct_environment):
        environment["GALLERY_UPLOAD__MAX_BYTES"] = str(64 * MIB)
    await asyncio.gather(deployment.start_api(), deployment.start_worker())
    return deployment


@asynccontextmanager
async def checked(deployment: Deployment) -> AsyncIterator[Callable[[Sender, Awaitable[str]], "asyncio.Task[str]"]]:
    """Yields a function that starts a sender; in the end all of them are acknowledged, and nothing else is left."""
    sending: list[tuple[Sender, asyncio.Task[str]]] = []

    def start(sender: Sender, work: Awaitable[str]) -> "asyncio.Task[str]":
        sending.append((sender, asyncio.ensure_future(work)))
        return sending[-1][1]

    received = ReceivedEvents()
    listening = asyncio.create_task(listen(deployment.url, received))
    try:
        async with asyncio.timeout(20):
            while not received.connections:  # a late listener would miss the first events
                await asyncio.sleep(0.02)
        yield start
        deployment.restore()
        async with asyncio.timeout(120):
            for sender, task in sending:
                deployment.load.acknowledged[await task] = sender.sha256
        assert len(deployment.load.acknowledged) == len({sender.key for sender, _ in sending})
        await check(deployment.direct_environment, deployment.url, deployment.load, [received])
        await check_nothing_left(deployment.direct_environment)
    finally:
        tasks = [listening, *(task for _, task in sending)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    deployment.monitor.check()


def make_sender(deployment: Deployment, share: float | None = None, **more: int | None) -> Sender:
    pause_at = None if share is None else round(SIZE * share)
    return Sender(deployment.url, padded(deployment.load, SIZE), pause_at=pause_at, **more)


async def wait_until_paused(deployment: Deployment, by_tus: Sequence[Sender], others: Sequence[Sender] = ()) -> None:
    """Until all have sent what they shall, and each whole part of those by tus is recorded."""
    async with asyncio.timeout(60):
        for sender in (*by_tus, *others):
            await sender.paused.wait()
        parts = sum(sender.sent // PART_BYTES for sender in by_tus)
        while (await execute(deployment, RECEIVED) or 0) < parts * PART_BYTES:
            await asyncio.sleep(0.05)


async def end_holds(deployment: Deployment) -> None:
    """Let the six seconds pass for which a dead process still holds its uploads; the long run waits for them."""
    if not IN_FULL:
        await execute(deployment, END_HOLDS)


async def execute(deployment: Deployment, statement: str, *values: object) -> int | None:
    connection = await asyncpg.connect(deployment.direct_environment["DATABASE_URL"])
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


@in_full_only
async def test_the_api_is_killed_in_the_middle(uploading):
    """What a process had in its hands is at most one part of each upload."""
    by_tus = [make_sender(uploading, share) for share in SHARES]
    directly = [make_sender(uploading, share) for share in SHARES]
    async with checked(uploading) as start:
        for sender in by_tus:
            start(sender, sender.send_by_tus())
        for sender in directly:
            start(sender, sender.send_direct(reverse=True))
        await wait_until_paused(uploading, by_tus, directly)
        await uploading.stop_api(signal.SIGKILL)
        await uploading.start_api()
        await end_holds(uploading)
        for sender in (*by_tus, *directly):
            sender.go_on.set()
    assert all(sender.interruptions for sender in by_tus)
    assert max(sender.lost_at_once for sender in (*by_tus, *directly)) <= PART_BYTES


async def test_the_api_dies_between_two_steps(request, uploading):
    steps = STEPS if IN_FULL else [step for step in STEPS if step[0] in SHORT_STEPS[store_of(request)]]
    async with checked(uploading) as start:
        for failpoint, chunk in steps:
            await uploading.stop_api(signal.SIGTERM)
            await uploading.start_api(GALLERY_FAULT=failpoint)
            by_tus, directly = make_sender(uploading, chunk=chunk), make_sender(uploading)
            work = [start(by_tus, by_tus.send_by_tus()), start(directly, directly.send_direct())]
            await uploading.wait_until_api_dies()
            await uploading.start_api()
            await end_holds(uploading)
            await asyncio.gather(*work)
            assert by_tus.sent_again <= (chunk or PART_BYTES + socket_bytes()), failpoint
            assert directly.sent_again <= PART_BYTES, failpoint


@on_s3
@in_full_only
async def test_the_pauses_of_tus_js_client_outlast_a_killed_process(uploading):
    """The upload is held for as long as it can be when its process dies, and the client never gives up."""
    sender = Sender(uploading.url, padded(uploading.load, SIZE), pause_at=SIZE // 2, pauses=TUS_JS_PAUSES)
    async with api(uploading.environment, uploading.logs, PORT=str(free_port())) as other, checked(uploading) as start:
        work = start(sender, sender.send_by_tus())
        await wait_until_paused(uploading, [sender])
        await execute(uploading, "UPDATE upload SET held_until = now() + $1::interval", HOLD_PERIOD)
        await uploading.stop_api(signal.SIGKILL)
        sender.url = other.url
        sender.go_on.set()
        await work
        await uploading.start_api()


@on_s3_at_least
@in_full_only
async def test_two_processes_take_turns(uploading):
    """A second process takes the upload over from a killed one; and one client by both of them makes one image."""
    async with api(uploading.environment, uploading.logs, PORT=str(free_port())) as other, checked(uploading) as start:
        sender, directly = make_sender(uploading, 0.5), make_sender(uploading, 0.5)
        work = start(sender, sender.send_by_tus()), start(directly, directly.send_direct())
        await wait_until_paused(uploading, [sender], [directly])
        await uploading.stop_api(signal.SIGKILL)
        await end_holds(uploading)
        for each in (sender, directly):
            each.url = other.url
            each.go_on.set()
        await asyncio.gather(*work)
        assert sender.sent_again <= PART_BYTES
        await uploading.start_api()
        for way in ("tus", "direct") if IN_FULL else ("direct",):
            await check_two_clients(uploading, other.url, start, way)


async def check_two_clients(
    deployment: Deployment, url: str, start: Callable[[Sender, Awaitable[str]], "asyncio.Task[str]"], way: str
) -> None:
    """Two clients send one file at once, by two processes, and direct ones in two orders: it is one image."""
    one = make_sender(deployment, chunk=3 * MIB)
    other = Sender(url, one.content, chunk=3 * MIB)
    other.key = one.key
    if way == "tus":
        work = start(one, one.send_by_tus()), start(other, other.send_by_tus())
    else:
        work = start(one, one.send_direct()), start(other, other.send_direct(reverse=True))
    assert len(set(await asyncio.gather(*work))) == 1


@on_s3
@in_full_only
async def test_the_store_is_lost(uploading):
    """It refuses connections, and then it freezes."""
    senders = [make_sender(uploading, 0.5), make_sender(uploading, 0.2, chunk=3 * MIB)]
    directly = make_sender(uploading, 0.5)
    async with checked(uploading) as start:
        for sender in senders:
            start(sender, sender.send_by_tus())
        start(directly, directly.send_direct())
        await wait_until_paused(uploading, [], [*senders, directly])
        uploading.store.refusing = True
        uploading.store.reset_connections()
        for sender in (*senders, directly):
            sender.go_on.set()
        await asyncio.sleep(uploading.intensity.outage_seconds)
        uploading.restore()
        uploading.backends.store.suspend()
        await asyncio.sleep(uploading.intensity.outage_seconds)
        uploading.backends.store.resume()
    assert sum(sender.interruptions for sender in senders)


@on_s3_at_least
@in_full_only
async def test_the_database_is_lost(uploading):
    by_tus, directly = make_sender(uploading, 0.5), make_sender(uploading, 0.5)
    async with checked(uploading) as start:
        start(by_tus, by_tus.send_by_tus())
        start(directly, directly.send_direct())
        await wait_until_paused(uploading, [by_tus], [directly])
        await uploading.backends.postgres.kill(signal.SIGQUIT)
        for sender in (by_tus, directly):
            sender.go_on.set()
        await asyncio.sleep(uploading.intensity.outage_seconds)
        await uploading.backends.postgres.start()
    assert by_tus.interruptions


def store_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["uploading"])


def socket_bytes() -> int:
    """What the kernel takes at most for a process that does not read: sent by the client, unknown to the process."""
    return int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2])
