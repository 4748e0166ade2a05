"""Looks at our own processes all the while: whoever runs must answer, and take no more in the end than before."""

import asyncio
from typing import Self

import httpx
import psutil

INTERVAL_SECONDS = 0.25  # seconds
ANSWER_TIMEOUT_SECONDS = 10  # seconds; two cores carry the whole city
MAX_EXTRA_FILES = 150  # descriptors: pools may have grown, to 20 connections to PostgreSQL and twice 50 to Valkey
MAX_EXTRA_BYTES = 100 * 1024 * 1024


class LivenessMonitor:
    """Asks `/livez` of the API that runs. `pause` before it is killed, `start` when another one is there."""

    def __init__(self) -> None:
        self._failures: list[str] = []
        self._answers = 0
        self._target: tuple[str, int] | None = None
        self._sizes: dict[int, tuple[int, int]] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def start(self, url: str, pid: int) -> None:
        self._target = (url, pid)

    def pause(self) -> None:
        self._target = None

    def check(self) -> None:
        assert self._answers, "nobody was asked"
        assert self._failures == []

    def measure_sizes(self, pids: list[int]) -> None:
        self._sizes = {pid: _size(pid) for pid in pids}

    def check_sizes(self, pids: list[int]) -> None:
        """Of those that were measured and still run."""
        for pid in set(pids) & self._sizes.keys():
            files, memory = _size(pid)
            files_before, memory_before = self._sizes[pid]
            assert files <= files_before + MAX_EXTRA_FILES, f"{pid}: {files_before} descriptors, then {files}"
            assert memory <= memory_before + MAX_EXTRA_BYTES, f"{pid}: {memory_before} bytes, then {memory}"

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_SECONDS) as client:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                if (asked := self._target) is not None:
                    await self._ask(client, asked)

    async def _ask(self, client: httpx.AsyncClient, asked: tuple[str, int]) -> None:
        try:
            status = str((await client.get(f"{asked[0]}/livez")).status_code)
        except httpx.HTTPError as error:
            status = repr(error)
        if self._target == asked:  # else it was killed meanwhile
            self._answers += 1
            if status != "200":
                self._failures.append(status)


def _size(pid: int) -> tuple[int, int]:
    """Open descriptors, and bytes of memory of the process alone."""
    process = psutil.Process(pid)
    return process.num_fds(), process.memory_info().rss
