"""Under what name a stream is counted: as its caller's requests are."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from litestar import Request

from gallery.notifications.stream_limits import StreamLimits
from gallery.settings import Settings
from gallery.web.auth_guard import caller_of
from gallery.web.middleware.rate_limit import limited, place

Slot = AbstractContextManager[None]


def stream_slots(settings: Settings) -> Callable[[Request[Any, Any, Any]], Slot]:
    """What a stream holds while it is open."""
    limits = StreamLimits(settings.notifications, limited=limited(settings), lifted=settings.rate.enabled is False)

    def stream_slot(request: Request[Any, Any, Any]) -> Slot:
        return limits.one_more(caller_of(request).counted_as or place(request.scope))

    return stream_slot
