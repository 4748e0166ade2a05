"""Threads for requests to a server that may hang: the process ends without waiting for them."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Call: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class DaemonThreads(Executor):
    """Like `ThreadPoolExecutor`, whose threads the interpreter joins at its end. `submit` is called by one thread."""

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._threads: list[Thread] = []
        self._calls: SimpleQueue[Call] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        if len(self._threads) < self._max_threads:
            thread = Thread(target=_run_calls, args=(self._calls,), name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future


def _run_calls(calls: SimpleQueue[Call]) -> None:
    while True:
        _run(*calls.get())


def _run(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
