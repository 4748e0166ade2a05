"""The slot of an open stream, counted under the same rate limit key or address as the caller's requests."""

from collections.abc import Callable
from typing import Any

from litestar import Request

from gallery.access.authorized import caller_of
from gallery.notifications.stream_limits import StreamLimits, StreamSlot
from gallery.settings import Settings
from gallery.web.request_limits import client_address, rate_limits_enabled


def stream_slots(settings: Settings) -> Callable[[Request[Any, Any, Any]], StreamSlot]:
    """A function from a request to the slot that its stream holds while it is open."""
    limits = StreamLimits(
        settings.notifications,
        limited_by_default=rate_limits_enabled(settings),
        unlimited=settings.rate.enabled is False,
    )

    def stream_slot(request: Request[Any, Any, Any]) -> StreamSlot:
        return limits.slot(caller_of(request.scope).rate_limit_key or client_address(request.scope))

    return stream_slot
