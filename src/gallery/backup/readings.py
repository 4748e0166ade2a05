"""How old the state is that can surely be restored."""

from collections.abc import Iterable

from gallery.adapters.postgres.database import Database
from gallery.backup.store import verified_age
from gallery.ops.readings import Reading, ReadingSource


def backup_readings(database: Database) -> ReadingSource:
    """Nothing is read where no backup was ever verified: there is no number for never."""

    async def read() -> Iterable[Reading]:
        age = await verified_age(database)
        if age is None:
            return []
        says = "Age of the state in the newest verified backup, in seconds"
        return [Reading("backup_verified_age_seconds", says, {(): age.total_seconds()})]

    return read
