"""Paces refusals: a client that asks again at once for what was refused is answered later and later.

A refusal costs the API what an ordinary answer costs. Without a pace, a client that ignores `Retry-After` takes as
much of the API's CPU as it has connections for, and the requests of others wait for it.
"""

import asyncio
import time

PER_SECOND = 20.0  # refusals of one client, after the first ones
AT_ONCE = 10  # refusals that nothing delays
MAX_DELAY_SECONDS = 1.0  # so a connection is not held for long
MAX_CLIENTS = 10_000  # that are remembered


class RefusalPacing:
    """The first refusals of a client pass at once, later ones at a fixed rate; none waits longer than a second.

    The time of the next refusal is kept for each client, as in the generic cell rate algorithm (ITU-T I.371).
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}  # `time.monotonic`, by client

    async def wait(self, client: str) -> None:
        """Waits until the client's next refusal may be answered."""
        delay = self.take(client, time.monotonic())
        if delay > 0:
            await asyncio.sleep(delay)

    def take(self, client: str, now: float) -> float:
        """Counts one more refusal; returns the seconds by which it has to be delayed."""
        due = max(self._next.get(client, now), now)
        delay = due - now - AT_ONCE / PER_SECOND
        if delay < MAX_DELAY_SECONDS:
            if client not in self._next and len(self._next) >= MAX_CLIENTS:
                self._next.clear()
            self._next[client] = due + 1 / PER_SECOND
        return min(max(delay, 0.0), MAX_DELAY_SECONDS)
