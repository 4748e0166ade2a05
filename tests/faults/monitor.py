"""Watches Gallery's processes: each must answer all the time, and use no more memory and files in the end."""

import asyncio
from typing import Self

import httpx
import psutil

from http_clients import TLS_CONTEXT

INTERVAL_SECONDS = 0.25
ANSWER_TIMEOUT_SECONDS = 10  # two cores run the whole deployment
MAX_EXTRA_FILES = 150  # descriptors: pools may have grown to 20 connections to PostgreSQL and twice 50 to Valkey
MAX_EXTRA_BYTES = 100 * 1024 * 1024


class LivenessMonitor:
    """Requests `/livez` of the running API. `pause` before a kill, `start` when the next API is ready."""

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
        assert self._answers, "no probe was answered"
        assert self._failures == []

    def measure_sizes(self, pids: list[int]) -> None:
        self._sizes = {pid: _size(pid) for pid in pids}

    def check_sizes(self, pids: list[int]) -> None:
        """Compare the processes that were measured and still run."""
        for pid in set(pids) & self._sizes.keys():
            files, memory = _size(pid)
            files_before, memory_before = self._sizes[pid]
            assert files <= files_before + MAX_EXTRA_FILES, f"{pid}: {files_before} descriptors, then {files}"
            assert memory <= memory_before + MAX_EXTRA_BYTES, f"{pid}: {memory_before} bytes, then {memory}"

    async def _run(self) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_SECONDS, verify=TLS_CONTEXT) as client:
            while True:
                await asyncio.sleep(INTERVAL_SECONDS)
                if (target := self._target) is not None:
                    await self._probe(client, target)

    async def _probe(self, client: httpx.AsyncClient, target: tuple[str, int]) -> None:
        try:
            status = str((await client.get(f"{target[0]}/livez")).status_code)
        except httpx.HTTPError as error:
            status = repr(error)
        if self._target == target:  # else it was killed meanwhile
            self._answers += 1
            if status != "200":
                self._failures.append(status)


def _size(pid: int) -> tuple[int, int]:
    """Open descriptors, and bytes of the process's own memory."""
    process = psutil.Process(pid)
    return process.num_fds(), process.memory_info().rss
