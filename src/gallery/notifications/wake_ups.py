"""Wakes every feed after a change. A lost wake-up costs a second: feeds also poll."""

import structlog
from redis.asyncio.client import Pipeline
from redis.asyncio.cluster import ClusterPipeline

from gallery.adapters.valkey.client import Valkey
from gallery.errors import ValkeyUnavailable

log = structlog.get_logger(__name__)

CHANNEL = "events"
MESSAGE = b"look"


class WakeUps:
    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    def can_join(self, valkey: Valkey) -> bool:
        """Whether a pipeline of this server may send the wake-up; its commands are executed in order."""
        return valkey is self._valkey and not valkey.cluster

    def join(self, pipeline: Pipeline | ClusterPipeline) -> None:
        """Add the wake-up to a pipeline."""
        pipeline.publish(f"{self._valkey.prefix}:{CHANNEL}", MESSAGE)

    async def notify(self) -> None:
        try:
            await self._valkey.publish(CHANNEL, MESSAGE)
        except ValkeyUnavailable as error:
            log.debug("wake_up.not_sent", error=str(error))
