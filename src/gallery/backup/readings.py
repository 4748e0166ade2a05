"""The metric for the age of the newest verified backup."""

from collections.abc import Iterable

from gallery.adapters.postgres.database import Database
from gallery.backup.store import verified_age
from gallery.ops.readings import Reading, ReadingSource


def backup_readings(database: Database) -> ReadingSource:
    """No value is reported when no backup was ever verified."""

    async def read() -> Iterable[Reading]:
        age = await verified_age(database)
        if age is None:
            return []
        description = "Age of the state in the newest verified backup, in seconds"
        return [Reading("backup_verified_age_seconds", description, {(): age.total_seconds()})]

    return read
