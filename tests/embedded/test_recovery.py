"""What a killed Gallery leaves behind, and how the next start takes over."""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest

from embedded.conftest import running_in
from embedded.test_servers import add_note, as_root, read_notes
from gallery.embedded import datadir, servers
from gallery.embedded.datadir import RunInfo
from gallery.embedded.processes import PARENT_VARIABLE
from gallery.errors import CannotStart

SMALL_DEV = Path(__file__).parent / "house.py"
TIMEOUT_SECONDS = 30


async def start_application(data_dir: Path) -> tuple[Process, RunInfo]:
    house = await asyncio.create_subprocess_exec(sys.executable, SMALL_DEV, data_dir)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not (running := datadir.find_running(data_dir)) or not running.api_port:
            assert house.returncode is None
            await asyncio.sleep(0.05)
    return house, running


async def kill(application: Process) -> None:
    application.kill()
    await application.wait()


async def stop(application: Process) -> int:
    application.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await application.wait()
    return application.returncode


async def test_ctrl_c_ends_everything_without_an_error(data_dir):
    house, _ = await start_application(data_dir)
    assert await stop(house) == 0
    assert not running_in(data_dir)
    assert datadir.find_running(data_dir) is None


async def test_only_the_supervisor_hears_the_terminal(data_dir):
    house, _ = await start_application(data_dir)
    others = [process for process in running_in(data_dir) if process.pid != house.pid]
    assert {process.name() for process in others} >= {"postgres", "valkey-server"}
    assert all(os.getsid(process.pid) != os.getsid(house.pid) for process in others)
    await stop(house)


async def test_a_command_beside_it_uses_its_servers(data_dir):
    house, there = await start_application(data_dir)
    async with servers.open_servers(data_dir) as running:
        assert running == there
        await add_note(running, "hello")
    await stop(house)


async def test_a_second_one_says_that_one_runs_already(data_dir):
    house, _ = await start_application(data_dir)
    with pytest.raises(CannotStart, match=f"already runs in .*, on port 3000: gallery dev .pid {house.pid}."):
        async with datadir.lock(data_dir, "gallery dev"):
            pass
    await stop(house)


async def test_after_a_kill_the_next_start_takes_over_at_the_same_place_and_nothing_is_lost(data_dir):
    house, before = await start_application(data_dir)
    await add_note(before, "hello")
    servers = {process.name() for process in running_in(data_dir)} & {"postgres", "valkey-server"}
    await kill(house)
    assert datadir.find_running(data_dir) is None
    assert servers == {"postgres", "valkey-server"}

    house, after = await start_application(data_dir)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)
    assert await read_notes(after) == (["hello"], ["hello"])
    assert not any(process.alive for process in before.processes.values())
    await stop(house)


async def test_the_parts_end_with_their_killed_supervisor(data_dir):
    house, running = await start_application(data_dir)
    assert set(running.processes) == {"api", "worker"}
    await kill(house)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for process in running.processes.values():
            await process.wait()
    async with servers.open_servers(data_dir):  # takes the servers over, and ends them
        pass


@pytest.mark.parametrize(
    ("parent", "code"), [(os.getpid(), 0), (1, -signal.SIGTERM), ("", 0)], ids=["ours", "init", "none"]
)
async def test_a_part_whose_parent_died_before_it_looked_ends_at_once(parent, code):
    environment = {**os.environ, PARENT_VARIABLE: f"{parent}"}
    look = "from gallery.embedded.processes import end_with_parent; end_with_parent()"
    part = await asyncio.create_subprocess_exec(sys.executable, "-c", look, env=environment)
    assert await part.wait() == code


async def test_a_part_that_does_not_end_by_itself_is_ended_by_the_next_start(data_dir):
    house, running = await start_application(data_dir)
    for process in running.processes.values():
        psutil.Process(process.pid).suspend()
    await kill(house)
    async with servers.open_servers(data_dir):
        assert not any(process.alive for process in running.processes.values())


async def test_a_kill_in_the_middle_of_the_first_start_does_no_harm(data_dir):
    house = await asyncio.create_subprocess_exec(sys.executable, SMALL_DEV, data_dir)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not list(data_dir.glob(".initdb-*/base")):
            await asyncio.sleep(0.005)
    await kill(house)
    async with servers.open_servers(data_dir) as running:
        await add_note(running, "hello")
    assert not list(data_dir.glob(".initdb-*/base/*"))


async def test_servers_that_were_killed_too_recover(data_dir):
    house, before = await start_application(data_dir)
    await add_note(before, "hello")
    house.kill()
    for process in running_in(data_dir):
        process.kill()
    await house.wait()
    async with servers.open_servers(data_dir) as after:
        assert await read_notes(after) == (["hello"], ["hello"])


@as_root
async def test_a_stale_pid_file_that_names_another_process_of_the_same_user_is_no_obstacle(data_dir):
    async with servers.open_servers(data_dir, valkey=False):
        stale = (data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[1]
    owner = data_dir / "postgres"
    sleeper = await asyncio.create_subprocess_exec("sleep", "60", user=owner.stat().st_uid)
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{sleeper.pid}\n{stale}")
    async with servers.open_servers(data_dir, valkey=False):
        assert sleeper.returncode is None
    sleeper.kill()
    await sleeper.wait()


def owner_uid(path: Path) -> int:
    return path.parent.stat().st_uid


async def test_a_predecessor_that_nobody_has_buried_yet_is_no_obstacle(data_dir):
    async with servers.open_servers(data_dir, valkey=False):
        pid_file = data_dir / "postgres" / "postmaster.pid"
        left = pid_file.read_text().split("\n", 1)[1]
    words = ["sh", "-c", "read line", "postgres", "-D", str(pid_file.parent), "-c"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # who starts the tests may have it ignored
    with subprocess.Popen(  # noqa: ASYNC220  asyncio would bury it
        words,
        stdin=subprocess.PIPE,
        user=owner_uid(pid_file),
        preexec_fn=heard,  # noqa: PLW1509
    ) as predecessor:
        pid_file.write_text(f"{predecessor.pid}\n{left}")
        async with servers.open_servers(data_dir, valkey=False):
            assert psutil.Process(predecessor.pid).status() == psutil.STATUS_ZOMBIE


async def test_a_run_file_that_a_power_cut_emptied_is_no_obstacle(data_dir):
    async with servers.open_servers(data_dir, postgres=False):
        pass
    (data_dir / "run.json").write_bytes(b"")
    async with servers.open_servers(data_dir, postgres=False) as running:
        assert msgspec.json.decode((data_dir / "run.json").read_bytes(), type=RunInfo) == running


async def test_a_process_with_a_reused_pid_is_not_taken_for_the_holder(data_dir):
    async with datadir.lock(data_dir, "gallery dev") as hold:
        hold.publish(api_port=3000)
        assert datadir.find_running(data_dir) == hold.run_info
        impostor = msgspec.structs.replace(hold.run_info.holder, birth="another time")
        hold.publish(holder=impostor)
        assert datadir.find_running(data_dir) is None
