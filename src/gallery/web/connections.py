"""Room for one more connection: an idle one makes it, as in nginx when its `worker_connections` are used up."""

from collections.abc import Iterable
from itertools import islice
from typing import Protocol


class Connection(Protocol):
    @property
    def idle(self) -> bool:
        """Whether it waits for another request, after one at least."""

    def shutdown(self) -> None: ...


def close_idle_connections(connections: set[Connection], max_connections: int) -> None:
    """Close idle connections until no more than `most` are open, or none is idle."""
    excess = len(connections) - max_connections
    if excess > 0:
        for connection in list(islice(_idle(connections), excess)):
            connection.shutdown()


def _idle(connections: Iterable[Connection]) -> Iterable[Connection]:
    return (connection for connection in connections if connection.idle)
