"""Pauses the queue: workers then take no new job, and finish their active ones.

The pause is kept in a row, since Valkey may lose its data; BullMQ's own pause follows the row.
"""

from datetime import datetime

from gallery.adapters.postgres.database import Connection

NOT_PAUSED = "NOT EXISTS (SELECT FROM installation WHERE paused_at IS NOT NULL)"  # for the statements that claim
READ = "SELECT paused_at FROM installation"
BEGIN = "UPDATE installation SET paused_at = now() WHERE paused_at IS NULL"
END = "UPDATE installation SET paused_at = NULL WHERE paused_at IS NOT NULL"


async def since(db: Connection) -> datetime | None:
    """The start of the pause; `None` when the queue is not paused."""
    at: datetime | None = await db.fetchval(READ)
    return at


async def begin(db: Connection) -> None:
    await db.execute(BEGIN)


async def end(db: Connection) -> None:
    await db.execute(END)
