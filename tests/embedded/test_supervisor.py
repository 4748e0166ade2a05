import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest
import structlog

from embedded.conftest import running_in
from embedded.test_servers import add_note, read_notes
from gallery.embedded import datadir, supervisor
from gallery.embedded.datadir import RunInfo
from gallery.embedded.processes import ProcessRef
from gallery.embedded.servers import prepare_servers, publish_servers
from gallery.embedded.supervisor import Command, Supervisor, gallery_command
from gallery.errors import CannotStart

TIMEOUT_SECONDS = 30


@pytest.fixture
def journal(tmp_path):
    """The file in which the children of a test write their begins and ends, one per line."""
    return tmp_path / "journal"


@pytest.fixture
def events():
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
async def test_a_stopped_child_is_logged_and_not_restarted(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "STOPPED_CHECK_SECONDS", 0.1)
    pids: dict[str, ProcessRef] = {}

    async def wait_for_event(event: str) -> dict[str, object]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (lines := [line for line in events if line["event"] == event]):
                await asyncio.sleep(0.02)
        return lines[-1]

    async def freeze(supervised: Supervisor) -> None:
        await supervised.start(make_child("worker", journal))
        pid = pids["worker"].pid
        os.kill(pid, signal.SIGSTOP)
        line = await wait_for_event("child.stopped")
        assert (line["child"], line["pid"], line["restart"]) == ("worker", pid, f"kill -9 {pid}")
        await asyncio.sleep(0.5)
        assert len([line for line in events if line["event"] == "child.stopped"]) == 1
        assert psutil.pid_exists(pid)
        os.kill(pid, signal.SIGCONT)
        await wait_for_event("child.continued")
        os.kill(os.getpid(), signal.SIGTERM)

    assert await Supervisor(pids.update).run(freeze) == 0


def make_child(name: str, journal: Path, script: str = "sleep 100 & wait", **options: object) -> Command:
    shell_script = (
        f"trap 'echo {name} ends >> {journal}; kill $!; exit' TERM; echo {name} begins >> {journal}; {script}"
    )
    return Command(name, ["sh", "-c", shell_script], **options)


async def wait_for_lines(journal: Path, count: int) -> list[str]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not journal.exists() or len(journal.read_text().splitlines()) < count:
            await asyncio.sleep(0.01)
    return journal.read_text().splitlines()


def send_sigint() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def test_groups_start_in_order_and_end_in_reverse(journal):
    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        await supervised.start(make_child("api", journal))
        await wait_for_lines(journal, 2)
        await supervised.start(make_child("worker", journal))
        await wait_for_lines(journal, 3)
        send_sigint()

    assert await Supervisor().run(start_all) == 0
    assert journal.read_text().splitlines()[3:] == ["worker ends", "api ends", "server ends"]


async def test_a_group_ends_in_parallel(journal):
    """Processes behind one port drain together: the first must not delay the second."""
    second_ended = f"until grep -q 'api-2 ends' {journal}; do sleep 0.01; done; echo api-1 ends >> {journal}; exit"
    first = Command(
        "api-1", ["sh", "-c", f'trap "{second_ended}" TERM; echo api-1 begins >> {journal}; sleep 100 & wait']
    )

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(first, make_child("api-2", journal))
        await wait_for_lines(journal, 2)
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await Supervisor().run(start_all)
    assert journal.read_text().splitlines()[2:] == ["api-2 ends", "api-1 ends"]


async def test_a_dead_child_is_restarted_and_the_others_run_on(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("mortal", journal, "exit 7"), make_child("steady", journal))
        await wait_for_lines(journal, 4)
        send_sigint()

    await Supervisor().run(start_all)
    exits = [event for event in events if event["event"] == "child.exited"]
    assert [(event["child"], event["code"]) for event in exits[:2]] == [("mortal", 7), ("mortal", 7)]
    assert [event["again_in"] for event in exits[:2]] == [0.05, 0.1]
    assert journal.read_text().count("steady begins") == 1


class FailingSecondStart:
    """A child that cannot be started the second time."""

    name = "stumbling"
    stop_signals = (signal.SIGTERM,)
    stop_seconds = 5.0

    def __init__(self, command: Command) -> None:
        self.starts = 0
        self.first_start, self.ready = command.start, command.ready

    async def start(self) -> asyncio.subprocess.Process:
        self.starts += 1
        if self.starts == 2:
            raise OSError("no memory for another process")
        return await self.first_start()


async def test_a_start_that_fails_later_is_retried(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(FailingSecondStart(make_child("mortal", journal, "exit 7")))
        await wait_for_lines(journal, 2)
        send_sigint()

    assert await Supervisor().run(start_all) == 0
    assert [each["reason"] for each in events if each["event"] == "child.failed"] == ["no memory for another process"]


async def test_a_child_that_ran_long_is_restarted_at_once(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "STABLE_AFTER_SECONDS", 0)

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("mortal", journal, "exit 7"))
        await wait_for_lines(journal, 4)
        send_sigint()

    await Supervisor().run(start_all)
    assert {event["again_in"] for event in events if event["event"] == "child.exited"} == {0.05}


async def test_a_configuration_error_ends_everything_with_its_code(journal):
    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        await supervised.start(make_child("api", journal, "exit 2"))

    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await Supervisor().run(start_all) == 2
    assert sorted(journal.read_text().splitlines()) == ["api begins", "server begins", "server ends"]


async def test_a_later_configuration_error_is_a_normal_exit(journal, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.01)

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("api", journal, f"test $(wc -l < {journal}) = 1 && exit 1; exit 2"))
        await wait_for_lines(journal, 4)
        send_sigint()

    assert await Supervisor().run(start_all) == 0


async def test_a_second_ctrl_c_hurries_a_child_that_ignores_sigterm(journal):
    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("stubborn", journal, "trap '' TERM; sleep 100 & wait; sleep 100"))
        await wait_for_lines(journal, 1)
        await asyncio.sleep(0.1)
        send_sigint()
        asyncio.get_running_loop().call_later(0.3, send_sigint)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await Supervisor().run(start_all)


async def test_a_child_that_ignores_sigterm_is_killed_with_its_group(journal):
    async def start_all(supervised: Supervisor) -> None:
        script = f"trap '' TERM; sleep 1234.5 & echo $! >> {journal}; wait; sleep 100"
        await supervised.start(make_child("stubborn", journal, script, stop_seconds=0.1))
        await wait_for_lines(journal, 2)
        send_sigint()

    await Supervisor().run(start_all)
    await wait_until_dead(int(journal.read_text().splitlines()[1]))


async def wait_until_dead(pid: int) -> None:
    """A killed process stays for a moment."""
    process = ProcessRef.find(pid)
    if process:
        async with asyncio.timeout(5):
            await process.wait()


async def test_children_of_a_dead_child_are_killed(journal, monkeypatch):
    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("mortal", journal, f"sleep 1234.5 & echo $! >> {journal}; exit 1"))
        written = await wait_for_lines(journal, 3)
        await wait_until_dead(int(written[1]))
        send_sigint()

    await Supervisor().run(start_all)


async def test_start_returns_when_the_children_are_ready(journal):
    async def is_ready() -> bool:
        return journal.exists() and "ready" in journal.read_text()

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(
            make_child("api", journal, f"sleep 0.2; echo ready >> {journal}; sleep 100 & wait", probe=is_ready)
        )
        assert await is_ready()
        send_sigint()

    await Supervisor().run(start_all)


async def test_a_child_that_is_never_ready_cannot_start(journal, monkeypatch):
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_SECONDS", 0.2)

    async def never() -> bool:
        return False

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("api", journal, probe=never))

    with pytest.raises(CannotStart, match="did not answer"):
        await Supervisor().run(start_all)
    assert (await wait_for_lines(journal, 2))[1] == "api ends"


async def test_an_error_of_the_start_is_raised_when_all_has_ended(journal):
    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        raise CannotStart("no migration fits")

    with pytest.raises(CannotStart):
        await Supervisor().run(start_all)
    assert journal.read_text().splitlines() == ["server begins", "server ends"]


async def test_ctrl_c_during_the_start_ends_it(data_dir):
    async with datadir.lock(data_dir, "gallery dev") as lock:

        async def start_all(supervised: Supervisor) -> None:
            asyncio.get_running_loop().call_later(0.1, send_sigint)
            await supervised.start(*await prepare_servers(lock))
            pytest.fail("the first start is not that fast")

        assert await Supervisor().run(start_all) == 0
        assert not running_in(data_dir)
    assert not list(data_dir.glob(".initdb-*"))


async def test_children_inherit_the_sockets_passed_to_them(journal):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = f"import socket; socket.socket(fileno={listener.fileno()}).accept()[0].sendall(b'hello')"

        async def start_all(supervised: Supervisor) -> None:
            await supervised.start(Command("api", [sys.executable, "-c", answer], pass_fds=[listener.fileno()]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
            send_sigint()

        assert await Supervisor().run(start_all) == 0


async def test_a_child_has_its_own_session_and_is_reported_with_its_process(journal):
    reported: list[dict[str, ProcessRef]] = []

    async def start_all(supervised: Supervisor) -> None:
        await supervised.start(make_child("api", journal))
        await wait_for_lines(journal, 1)
        assert os.getsid(reported[-1]["api"].pid) != os.getsid(0)
        send_sigint()

    await Supervisor(reported.append).run(start_all)
    assert not reported[0]["api"].alive
    assert reported[-1] == {}, "the end must be reported too"


async def test_killed_servers_come_back_with_the_same_urls_and_data(data_dir):
    async def read_until_recovered(running: RunInfo) -> tuple[list[str], list[str]]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                try:
                    return await read_notes(running)
                except Exception:  # noqa: BLE001 many errors mean down or recovering
                    await asyncio.sleep(0.05)

    async with datadir.lock(data_dir, "gallery dev") as lock:

        async def start_all(supervised: Supervisor) -> None:
            servers = await prepare_servers(lock)
            await supervised.start(*servers)
            publish_servers(lock, servers)
            await add_note(lock.run_info, "hello")
            for server in servers:
                [main] = [each for each in running_in(data_dir) if f"{server.port}" in " ".join(each.info["cmdline"])]
                main.kill()
                await asyncio.sleep(0.1)
                assert await read_until_recovered(lock.run_info) == (["hello"], ["hello"])
                assert not psutil.pid_exists(main.pid)
            send_sigint()

        assert await Supervisor().run(start_all) == 0


def test_the_gallery_command_is_next_to_this_python():
    assert gallery_command("serve", "--port", "0") == [
        str(Path(sys.executable).parent / "gallery"),
        "serve",
        "--port",
        "0",
    ]


def test_without_the_script_the_module_is_run(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert gallery_command("worker") == ["/nowhere/python", "-m", "gallery", "worker"]
