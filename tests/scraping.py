"""Reads metrics as Prometheus does: the samples of a scrape, and waits for new ones."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one answer."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples `gallery_<name>` that have these labels."""
        return sum(s.value for s in self._of(name, labels))

    @property
    def cpu(self) -> dict[str, float]:
        """The seconds of processor time by kind; of both together under an empty name."""
        names = {kind: f"process_cpu_{kind}{'_' * bool(kind)}seconds_total" for kind in ("user", "system", "")}
        return {kind: next(s.value for s in self.samples if s.name == name) for kind, name in names.items()}

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        return {s.labels[label] for s in self._of(name, {})}

    def has_sample(self, name: str, **labels: str) -> bool:
        return bool(self._of(name, labels))

    def _of(self, name: str, labels: Mapping[str, str]) -> list[Any]:
        return [s for s in self.samples if s.name == f"gallery_{name}" and labels.items() <= s.labels.items()]


async def wait_for_requests(client: httpx.AsyncClient, before: Scrape, count: int, **labels: str) -> None:
    """Wait until so many more requests with these labels have ended than `before`."""
    name = "http_request_duration_seconds_count"
    async with asyncio.timeout(20):
        while (await scrape(client)).value(name, **labels) < before.value(name, **labels) + count:
            await asyncio.sleep(0.05)


async def scrape(client: httpx.AsyncClient, headers: Mapping[str, str] | None = None) -> Scrape:
    answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)
