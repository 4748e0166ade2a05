"""Everything stored about one image, for operators. Also of a deleted image, until the sweep removes its row."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from gallery.adapters.postgres.database import Database
from gallery.errors import ImageNotFound
from gallery.images import timeline
from gallery.images.model import ImageId, Lane, Status, Visibility
from gallery.images.schema import ErrorView
from gallery.images.timeline import TimelineEntry

SELECT_IMAGE = """
    SELECT id, owner, title, original_name, mime_type, size, sha256, visibility, status, version, lane,
           CASE work_state WHEN 'claimed' THEN 'taken' ELSE work_state END AS work_state, queue_position,
           attempt, strikes, losses, deferrals, next_attempt_at, lease_until, worker, enqueued_at,
           rendered_attempt, recipe, error_code, error_message, created_at, updated_at, dropped_at, deleted_at,
           (SELECT count(*) FROM object WHERE image_id = image.id) AS objects
    FROM image WHERE id = $1
"""


class ImageDetail(Struct, frozen=True, kw_only=True, rename="camel"):
    """An image as operators read it. `work` is `due` when it waits for a worker, `taken` when a worker has claimed it.

    `worker` is the last one that claimed it, `rungAt` the time of the last enqueueing (null: never), `objects` the
    number of its keys in the object store, `droppedAt` the time at which an operator dropped its failure.
    """

    __schema_name__ = "ImageDetails"

    id: ImageId
    owner: str
    title: str
    original_name: str
    mime_type: str
    size: int
    sha256: str
    visibility: Visibility
    status: Status
    version: int
    work_state: str | None = field(name="work")
    lane: Lane
    queue_position: int = field(name="queuePlace")
    attempt: int
    strikes: int
    losses: int
    deferrals: int
    next_attempt_at: datetime
    lease_until: datetime | None
    worker: str | None
    enqueued_at: datetime | None = field(name="rungAt")
    rendered_attempt: int | None
    recipe: str | None
    error: ErrorView | None
    objects: int
    created_at: datetime
    updated_at: datetime
    dropped_at: datetime | None
    deleted_at: datetime | None
    timeline: list[TimelineEntry]


class ImageDetails:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, image_id: ImageId) -> ImageDetail:
        """Raises `ImageNotFound` when the row is gone."""
        async with self._database.primary() as db:
            row = await db.fetchrow(SELECT_IMAGE, image_id)
            entries = await timeline.read(db, image_id)
        if row is None:
            raise ImageNotFound(image=image_id)
        return _image_detail(dict(row), entries)


def _image_detail(row: dict[str, Any], entries: list[TimelineEntry]) -> ImageDetail:
    code, message = row.pop("error_code"), row.pop("error_message")
    row["error"] = None if code is None else ErrorView(code, message)
    row["enqueued_at"] = row["enqueued_at"] if _is_finite(row["enqueued_at"]) else None
    row |= {"status": Status(row["status"]), "lane": Lane(row["lane"]), "visibility": Visibility(row["visibility"])}
    return ImageDetail(**row, timeline=entries)


def _is_finite(at: datetime) -> bool:
    """PostgreSQL's `-infinity` arrives as Python's `datetime.min`."""
    return at.year > 1
