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
    """What the children of a test write down, one line for one thing that happened."""
    return tmp_path / "story"


@pytest.fixture
def events():
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says so")
async def test_a_child_that_was_stopped_is_told_and_left_to_its_person(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "STOPPED_CHECK_SECONDS", 0.1)
    pids: dict[str, ProcessRef] = {}

    async def said(event: str) -> dict[str, object]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not (lines := [line for line in events if line["event"] == event]):
                await asyncio.sleep(0.02)
        return lines[-1]

    async def freeze(it: Supervisor) -> None:
        await it.start(make_child("worker", journal))
        pid = pids["worker"].pid
        os.kill(pid, signal.SIGSTOP)
        line = await said("child.stopped")
        assert (line["child"], line["pid"], line["restart"]) == ("worker", pid, f"kill -9 {pid}")
        await asyncio.sleep(0.5)
        assert len([line for line in events if line["event"] == "child.stopped"]) == 1
        assert psutil.pid_exists(pid)
        os.kill(pid, signal.SIGCONT)
        await said("child.continued")
        os.kill(os.getpid(), signal.SIGTERM)

    assert await Supervisor(pids.update).run(freeze) == 0


def make_child(name: str, journal: Path, script: str = "sleep 100 & wait", **options: object) -> Command:
    told = f"trap 'echo {name} ends >> {journal}; kill $!; exit' TERM; echo {name} begins >> {journal}; {script}"
    return Command(name, ["sh", "-c", told], **options)


async def wait_for_lines(journal: Path, count: int) -> list[str]:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not journal.exists() or len(journal.read_text().splitlines()) < count:
            await asyncio.sleep(0.01)
    return journal.read_text().splitlines()


def send_sigint() -> None:
    os.kill(os.getpid(), signal.SIGINT)


async def test_groups_begin_in_order_and_end_in_reverse_each_child_in_its_place(journal):
    async def begin(house: Supervisor) -> None:
        await house.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        await house.start(make_child("api", journal))
        await wait_for_lines(journal, 2)
        await house.start(make_child("worker", journal))
        await wait_for_lines(journal, 3)
        send_sigint()

    assert await Supervisor().run(begin) == 0
    assert journal.read_text().splitlines()[3:] == ["worker ends", "api ends", "server ends"]


async def test_a_group_ends_side_by_side(journal):
    """Processes behind one port drain together: the first does not keep the second waiting."""
    second_ended = f"until grep -q 'api-2 ends' {journal}; do sleep 0.01; done; echo api-1 ends >> {journal}; exit"
    first = Command(
        "api-1", ["sh", "-c", f'trap "{second_ended}" TERM; echo api-1 begins >> {journal}; sleep 100 & wait']
    )

    async def begin(house: Supervisor) -> None:
        await house.start(first, make_child("api-2", journal))
        await wait_for_lines(journal, 2)
        os.kill(os.getpid(), signal.SIGTERM)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await Supervisor().run(begin)
    assert journal.read_text().splitlines()[2:] == ["api-2 ends", "api-1 ends"]


async def test_a_child_that_dies_is_started_again_and_the_others_live_on(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)

    async def begin(house: Supervisor) -> None:
        await house.start(make_child("mortal", journal, "exit 7"), make_child("steady", journal))
        await wait_for_lines(journal, 4)
        send_sigint()

    await Supervisor().run(begin)
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


async def test_a_start_that_fails_later_is_tried_again(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)

    async def begin(house: Supervisor) -> None:
        await house.start(FailingSecondStart(make_child("mortal", journal, "exit 7")))
        await wait_for_lines(journal, 2)
        send_sigint()

    assert await Supervisor().run(begin) == 0
    assert [each["reason"] for each in events if each["event"] == "child.failed"] == ["no memory for another process"]


async def test_a_child_that_lived_long_is_started_again_at_once(journal, events, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(supervisor, "STABLE_AFTER_SECONDS", 0)

    async def begin(house: Supervisor) -> None:
        await house.start(make_child("mortal", journal, "exit 7"))
        await wait_for_lines(journal, 4)
        send_sigint()

    await Supervisor().run(begin)
    assert {event["again_in"] for event in events if event["event"] == "child.exited"} == {0.05}


async def test_a_configuration_error_ends_everything_with_its_code(journal):
    async def begin(house: Supervisor) -> None:
        await house.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        await house.start(make_child("api", journal, "exit 2"))

    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await Supervisor().run(begin) == 2
    assert sorted(journal.read_text().splitlines()) == ["api begins", "server begins", "server ends"]


async def test_the_same_code_later_is_a_death_like_any_other(journal, monkeypatch):
    monkeypatch.setattr(supervisor, "MIN_BACKOFF_SECONDS", 0.01)

    async def begin(house: Supervisor) -> None:
        await house.start(make_child("api", journal, f"test $(wc -l < {journal}) = 1 && exit 1; exit 2"))
        await wait_for_lines(journal, 4)
        send_sigint()

    assert await Supervisor().run(begin) == 0


async def test_a_second_ctrl_c_hurries_who_does_not_listen(journal):
    async def begin(house: Supervisor) -> None:
        await house.start(make_child("deaf", journal, "trap '' TERM; sleep 100 & wait; sleep 100"))
        await wait_for_lines(journal, 1)
        await asyncio.sleep(0.1)
        send_sigint()
        asyncio.get_running_loop().call_later(0.3, send_sigint)

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await Supervisor().run(begin)


async def test_who_does_not_listen_is_killed_with_all_it_started(journal):
    async def begin(house: Supervisor) -> None:
        script = f"trap '' TERM; sleep 1234.5 & echo $! >> {journal}; wait; sleep 100"
        await house.start(make_child("deaf", journal, script, stop_seconds=0.1))
        await wait_for_lines(journal, 2)
        send_sigint()

    await Supervisor().run(begin)
    await wait_until_dead(int(journal.read_text().splitlines()[1]))


async def wait_until_dead(pid: int) -> None:
    """A killed process is there for a moment longer."""
    process = ProcessRef.find(pid)
    if process:
        async with asyncio.timeout(5):
            await process.wait()


async def test_what_a_dead_child_started_does_not_live_on(journal, monkeypatch):
    async def begin(house: Supervisor) -> None:
        await house.start(make_child("mortal", journal, f"sleep 1234.5 & echo $! >> {journal}; exit 1"))
        written = await wait_for_lines(journal, 3)
        await wait_until_dead(int(written[1]))
        send_sigint()

    await Supervisor().run(begin)


async def test_start_returns_when_the_children_answer(journal):
    async def answers() -> bool:
        return journal.exists() and "ready" in journal.read_text()

    async def begin(house: Supervisor) -> None:
        await house.start(
            make_child("api", journal, f"sleep 0.2; echo ready >> {journal}; sleep 100 & wait", answers=answers)
        )
        assert await answers()
        send_sigint()

    await Supervisor().run(begin)


async def test_a_child_that_never_answers_cannot_start(journal, monkeypatch):
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_SECONDS", 0.2)

    async def never() -> bool:
        return False

    async def begin(house: Supervisor) -> None:
        await house.start(make_child("api", journal, answers=never))

    with pytest.raises(CannotStart, match="did not answer"):
        await Supervisor().run(begin)
    assert (await wait_for_lines(journal, 2))[1] == "api ends"


async def test_what_goes_wrong_at_the_beginning_is_raised_when_all_has_ended(journal):
    async def begin(house: Supervisor) -> None:
        await house.start(make_child("server", journal))
        await wait_for_lines(journal, 1)
        raise CannotStart("no migration fits")

    with pytest.raises(CannotStart):
        await Supervisor().run(begin)
    assert journal.read_text().splitlines() == ["server begins", "server ends"]


async def test_ctrl_c_in_the_middle_of_the_beginning_ends_it(data_dir):
    async with datadir.lock(data_dir, "gallery dev") as hold:

        async def begin(house: Supervisor) -> None:
            asyncio.get_running_loop().call_later(0.1, send_sigint)
            await house.start(*await prepare_servers(hold))
            pytest.fail("the first start is not that fast")

        assert await Supervisor().run(begin) == 0
        assert not running_in(data_dir)
    assert not list(data_dir.glob(".initdb-*"))


async def test_children_inherit_the_sockets_they_are_given(journal):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = f"import socket; socket.socket(fileno={listener.fileno()}).accept()[0].sendall(b'hello')"

        async def begin(house: Supervisor) -> None:
            await house.start(Command("api", [sys.executable, "-c", answer], pass_fds=[listener.fileno()]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
            send_sigint()

        assert await Supervisor().run(begin) == 0


async def test_a_child_does_not_hear_the_terminal_and_is_told_of_by_its_process(journal):
    told: list[dict[str, ProcessRef]] = []

    async def begin(house: Supervisor) -> None:
        await house.start(make_child("api", journal))
        await wait_for_lines(journal, 1)
        assert os.getsid(told[-1]["api"].pid) != os.getsid(0)
        send_sigint()

    await Supervisor(told.append).run(begin)
    assert not told[0]["api"].alive
    assert told[-1] == {}, "and that it has ended is told as well"


async def test_killed_servers_come_back_at_the_same_place_with_all_they_knew(data_dir):
    async def notes_again(running: RunInfo) -> tuple[list[str], list[str]]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                try:
                    return await read_notes(running)
                except Exception:  # noqa: BLE001 away, recovering, coming back: in many words
                    await asyncio.sleep(0.05)

    async with datadir.lock(data_dir, "gallery dev") as hold:

        async def begin(house: Supervisor) -> None:
            servers = await prepare_servers(hold)
            await house.start(*servers)
            publish_servers(hold, servers)
            await add_note(hold.run_info, "hello")
            for server in servers:
                [main] = [each for each in running_in(data_dir) if f"{server.port}" in " ".join(each.cmdline())]
                main.kill()
                await asyncio.sleep(0.1)
                assert await notes_again(hold.run_info) == (["hello"], ["hello"])
                assert not psutil.pid_exists(main.pid)
            send_sigint()

        assert await Supervisor().run(begin) == 0


def test_our_own_command_is_the_one_beside_this_python():
    assert gallery_command("serve", "--port", "0") == [
        str(Path(sys.executable).parent / "gallery"),
        "serve",
        "--port",
        "0",
    ]


def test_without_the_script_it_is_the_module(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert gallery_command("worker") == ["/nowhere/python", "-m", "gallery", "worker"]
