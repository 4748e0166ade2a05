"""The leftovers of a killed Gallery, and the next start that takes over."""

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

from embedded.conftest import kill_all, running_in
from embedded.test_servers import add_note, as_root, read_notes
from gallery.embedded import datadir, servers
from gallery.embedded.datadir import RunInfo
from gallery.embedded.processes import PARENT_VARIABLE
from gallery.errors import CannotStart

SMALL_DEV = Path(__file__).parent / "small_dev.py"
TIMEOUT_SECONDS = 30


async def start_application(data_dir: Path) -> tuple[Process, RunInfo]:
    application = await asyncio.create_subprocess_exec(sys.executable, SMALL_DEV, data_dir)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not (running := datadir.find_running(data_dir)) or not running.api_port:
            assert application.returncode is None
            await asyncio.sleep(0.05)
    return application, running


async def kill(application: Process) -> None:
    application.kill()
    await application.wait()


async def stop(application: Process) -> int:
    application.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await application.wait()
    return application.returncode


async def test_ctrl_c_ends_everything_without_an_error(data_dir):
    application, _ = await start_application(data_dir)
    assert await stop(application) == 0
    assert not running_in(data_dir)
    assert datadir.find_running(data_dir) is None


async def test_only_the_supervisor_gets_signals_of_the_terminal(data_dir):
    application, _ = await start_application(data_dir)
    others = [process for process in running_in(data_dir) if process.pid != application.pid]
    assert {process.name() for process in others} >= {"postgres", "valkey-server"}
    assert all(os.getsid(process.pid) != os.getsid(application.pid) for process in others)
    await stop(application)


async def test_a_second_command_uses_the_running_servers(data_dir):
    application, expected = await start_application(data_dir)
    async with servers.open_servers(data_dir) as running:
        assert running == expected
        await add_note(running, "hello")
    await stop(application)


async def test_a_second_start_fails_because_one_runs_already(data_dir):
    application, _ = await start_application(data_dir)
    with pytest.raises(CannotStart, match=f"already runs in .*, on port 3000: gallery dev .pid {application.pid}."):
        async with datadir.lock(data_dir, "gallery dev"):
            pass
    await stop(application)


async def test_after_a_kill_the_next_start_has_the_same_urls_and_data(data_dir):
    application, before = await start_application(data_dir)
    await add_note(before, "hello")
    servers = {process.name() for process in running_in(data_dir)} & {"postgres", "valkey-server"}
    await kill(application)
    assert datadir.find_running(data_dir) is None
    assert servers == {"postgres", "valkey-server"}

    application, after = await start_application(data_dir)
    assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)
    assert await read_notes(after) == (["hello"], ["hello"])
    assert not any(process.alive for process in before.processes.values())
    await stop(application)


async def test_the_children_end_with_their_killed_supervisor(data_dir):
    application, running = await start_application(data_dir)
    assert set(running.processes) == {"api", "worker"}
    await kill(application)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for process in running.processes.values():
            await process.wait()
    async with servers.open_servers(data_dir):  # ends the leftover servers
        pass


@pytest.mark.parametrize(
    ("parent", "code"), [(os.getpid(), 0), (1, -signal.SIGTERM), ("", 0)], ids=["alive", "init", "none"]
)
async def test_a_child_whose_parent_has_already_died_ends_at_once(parent, code):
    environment = {**os.environ, PARENT_VARIABLE: f"{parent}"}
    code_text = "from gallery.embedded.processes import exit_with_parent; exit_with_parent()"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code_text, env=environment)
    assert await child.wait() == code


async def test_a_child_that_does_not_end_by_itself_is_ended_by_the_next_start(data_dir):
    application, running = await start_application(data_dir)
    for process in running.processes.values():
        psutil.Process(process.pid).suspend()
    await kill(application)
    async with servers.open_servers(data_dir):
        assert not any(process.alive for process in running.processes.values())


async def test_a_kill_in_the_middle_of_the_first_start_does_not_break_the_next_start(data_dir):
    application = await asyncio.create_subprocess_exec(sys.executable, SMALL_DEV, data_dir)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not list(data_dir.glob(".initdb-*/base")):
            await asyncio.sleep(0.005)
    await kill(application)
    async with servers.open_servers(data_dir) as running:
        await add_note(running, "hello")
    assert not list(data_dir.glob(".initdb-*/base/*"))


async def test_killed_servers_recover(data_dir):
    application, before = await start_application(data_dir)
    await add_note(before, "hello")
    application.kill()
    kill_all(running_in(data_dir))
    await application.wait()
    async with servers.open_servers(data_dir) as after:
        assert await read_notes(after) == (["hello"], ["hello"])


@as_root
async def test_a_stale_pid_file_with_the_pid_of_another_process_is_ignored(data_dir):
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


async def test_a_zombie_of_a_leftover_server_is_ignored(data_dir):
    async with servers.open_servers(data_dir, valkey=False):
        pid_file = data_dir / "postgres" / "postmaster.pid"
        rest = pid_file.read_text().split("\n", 1)[1]
    command = ["sh", "-c", "read line", "postgres", "-D", str(pid_file.parent), "-c"]
    restore_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # the tests may run with it ignored
    with subprocess.Popen(  # noqa: ASYNC220  asyncio would reap it
        command,
        stdin=subprocess.PIPE,
        user=owner_uid(pid_file),
        preexec_fn=restore_sigint,  # noqa: PLW1509
    ) as predecessor:
        pid_file.write_text(f"{predecessor.pid}\n{rest}")
        async with servers.open_servers(data_dir, valkey=False):
            assert psutil.Process(predecessor.pid).status() == psutil.STATUS_ZOMBIE


async def test_a_run_file_that_a_power_cut_emptied_is_ignored(data_dir):
    async with servers.open_servers(data_dir, postgres=False):
        pass
    (data_dir / "run.json").write_bytes(b"")
    async with servers.open_servers(data_dir, postgres=False) as running:
        assert msgspec.json.decode((data_dir / "run.json").read_bytes(), type=RunInfo) == running


async def test_a_process_with_a_reused_pid_is_not_taken_for_the_owner(data_dir):
    async with datadir.lock(data_dir, "gallery dev") as lock:
        lock.publish(api_port=3000)
        assert datadir.find_running(data_dir) == lock.run_info
        impostor = msgspec.structs.replace(lock.run_info.holder, birth="another time")
        lock.publish(holder=impostor)
        assert datadir.find_running(data_dir) is None
