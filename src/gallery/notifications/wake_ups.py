"""Wakes every feed after a change. A lost wake-up costs a second: feeds also poll."""

import structlog

from gallery.adapters.valkey.client import Valkey
from gallery.errors import ValkeyUnavailable

log = structlog.get_logger(__name__)

CHANNEL = "events"


class WakeUps:
    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def notify(self) -> None:
        try:
            await self._valkey.publish(CHANNEL, b"look")
        except ValkeyUnavailable as error:
            log.debug("wake_up.not_sent", error=str(error))
