"""Readers that expect a good answer to every request."""

import asyncio
from typing import Any

import httpx

from http_clients import TLS_CONTEXT


class ReadLoad:
    """Readers of lists, images and renditions, over connections that stay open."""

    def __init__(self, url: str, readers: int = 4) -> None:
        self._url = url
        self._readers = readers
        self.completed = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        """Read until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._readers):
                tasks.create_task(self._read())

    async def _read(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=15, verify=TLS_CONTEXT) as client:
            while True:
                for image in await self._get(client, "/api/v1/images?limit=2&status=READY") or []:
                    await self._get(client, f"/api/v1/images/{image['id']}")
                    await self._get(client, image["renditions"][0]["url"])
                await asyncio.sleep(0.05)

    async def _get(self, client: httpx.AsyncClient, path: str) -> Any:
        """The JSON of an answer, if it is JSON."""
        try:
            answer = await client.get(path)
        except httpx.HTTPError as error:
            self.failures.append(f"{path}: {error!r}")
            return None
        self.completed += 1
        if answer.status_code != 200:
            self.failures.append(f"{path}: {answer.status_code} {answer.text}")
            return None
        return answer.json() if answer.headers["content-type"] == "application/json" else None
