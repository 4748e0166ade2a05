"""A function that numbers the committed events and reads the next ones, in one round trip."""

from alembic import op

revision = "006"
down_revision = "005"


def upgrade() -> None:
    op.execute(NUMBER_AND_READ_EVENTS)


# In a volatile function each statement has a new snapshot, so the numbering sees all commits before the lock was taken.
# The lock is that of earlier versions, which may run at the same time. There is always a row, with the floor.
NUMBER_AND_READ_EVENTS = """
    CREATE FUNCTION number_and_read_events(after bigint, at_most integer) RETURNS TABLE (
        floor bigint, number bigint, type text, owner text, image_id uuid, version integer, data json,
        age double precision
    ) VOLATILE LANGUAGE plpgsql AS $$
    #variable_conflict use_column
    BEGIN
        IF EXISTS (SELECT FROM event WHERE event.number IS NULL) THEN
            PERFORM pg_advisory_xact_lock(7261002);
            WITH fresh AS MATERIALIZED (
                SELECT id, row_number() OVER (ORDER BY id) AS position FROM event WHERE event.number IS NULL
            ), raised AS (
                UPDATE event_numbers SET head = head + (SELECT count(*) FROM fresh)
                RETURNING head - (SELECT count(*) FROM fresh) AS base
            )
            UPDATE event SET number = raised.base + fresh.position FROM fresh, raised WHERE event.id = fresh.id;
        END IF;
        RETURN QUERY
            SELECT event_numbers.floor, next.number, next.type, next.owner, next.image_id, next.version, next.data,
                extract(epoch FROM clock_timestamp() - next.created_at)::double precision
            FROM event_numbers LEFT JOIN LATERAL (
                SELECT * FROM event WHERE event.number > after ORDER BY event.number LIMIT at_most
            ) AS next ON true
            ORDER BY next.number;
    END
    $$
"""
