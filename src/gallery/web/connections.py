"""The limit on open connections: idle ones are closed for new ones, as nginx does at its `worker_connections`."""

from collections.abc import Iterable
from itertools import islice
from typing import Protocol


class Connection(Protocol):
    @property
    def idle(self) -> bool:
        """Whether the connection has had a request and waits for the next one."""

    def shutdown(self) -> None: ...


def close_idle_connections(connections: set[Connection], max_connections: int) -> None:
    """Close idle connections until no more than `max_connections` are open, or none is idle."""
    excess = len(connections) - max_connections
    if excess > 0:
        for connection in list(islice(_idle(connections), excess)):
            connection.shutdown()


def _idle(connections: Iterable[Connection]) -> Iterable[Connection]:
    return (connection for connection in connections if connection.idle)
