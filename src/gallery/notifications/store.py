"""Events in PostgreSQL: added in the transaction of their change, numbered after it, read by number.

Identity values are assigned before a commit, so a reader that follows them would skip the event of a slow transaction
forever. Numbers are assigned by the first reader, to committed events only: they are the order that clients see.
See decision 0005.
"""

from datetime import timedelta

from asyncpg import Record

from gallery.adapters.postgres.database import Connection, Database
from gallery.notifications.model import Event, NumberedEvent

PAGE_SIZE = 500

ADD = """
    INSERT INTO event (type, owner, image_id, version, data) VALUES ($1, $2, $3, $4, $5)
"""
NUMBER_AND_READ = "SELECT * FROM number_and_read_events($1, $2)"  # in the migrations
COUNT_UNNUMBERED = "SELECT count(*) FROM (SELECT FROM event WHERE number IS NULL LIMIT $1) AS waiting"
COLUMNS = """
    number, type, owner, image_id, version, data,
    extract(epoch FROM clock_timestamp() - created_at)::double precision AS age
"""
READ = f"SELECT {COLUMNS} FROM event WHERE number > $1 ORDER BY number LIMIT $2"
REPLAY = f"""
    SELECT {COLUMNS} FROM event
    WHERE owner = $1 AND number > $2 AND number <= $3 ORDER BY number LIMIT $4
"""
EXPIRE = """
    WITH gone AS (
        DELETE FROM event WHERE number IS NOT NULL AND created_at < now() - $1::interval RETURNING number
    ), highest AS (SELECT max(number) AS number FROM gone)
    UPDATE event_numbers SET floor = greatest(floor, highest.number) FROM highest WHERE highest.number IS NOT NULL
"""


async def add(db: Connection, event: Event) -> None:
    """Write `event` in the caller's transaction, after the row that it is about."""
    await db.execute(ADD, event.type, event.owner, event.image_id, event.version, event.data)


class EventStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def number_and_read(self, number: int, limit: int = PAGE_SIZE) -> tuple[list[NumberedEvent], int]:
        """Number the committed events; the next ones after `number`, at most `limit`, in order.

        Also returns the number of the last event that is no longer kept, 0 for none.
        """
        async with self._database.primary() as db:
            rows = await db.fetch(NUMBER_AND_READ, number, limit)
        return [_numbered_event(row) for row in rows if row["number"] is not None], rows[0]["floor"]

    async def bounds(self) -> tuple[int, int]:
        """The last number assigned, and the last one that is no longer kept."""
        async with self._database.primary() as db:
            row = await db.fetchrow("SELECT head, floor FROM event_numbers")
        assert row is not None  # noqa: S101  the migration makes it
        return row["head"], row["floor"]

    async def count_unnumbered(self, limit: int) -> int:
        """The committed events without a number, counted up to `limit`."""
        async with self._database.primary() as db:
            return int(await db.fetchval(COUNT_UNNUMBERED, limit))

    async def read_after(self, number: int, limit: int = PAGE_SIZE) -> list[NumberedEvent]:
        """The next events after `number`, at most `limit`, in order."""
        async with self._database.primary() as db:
            rows = await db.fetch(READ, number, limit)
        return [_numbered_event(row) for row in rows]

    async def replay(self, owner: str, number: int, until: int) -> list[NumberedEvent]:
        """The owner's next events after `number` and up to `until`, at most `PAGE_SIZE`, in order."""
        async with self._database.primary() as db:
            rows = await db.fetch(REPLAY, owner, number, until, PAGE_SIZE)
        return [_numbered_event(row) for row in rows]

    async def expire(self, age: timedelta) -> None:
        """Delete events older than `age`."""
        async with self._database.writing() as db:
            await db.execute(EXPIRE, age)


def _numbered_event(row: Record) -> NumberedEvent:
    event = Event(row["type"], row["owner"], row["image_id"], row["version"], row["data"])
    return NumberedEvent(row["number"], event, row["age"])
