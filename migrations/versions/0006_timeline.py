"""What has happened to each image; and `work`, by which a READY image can be rendered again and stays READY."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # Whether a worker is wanted or has it. `status` is what clients see: the same, but for READY images.
    "ALTER TABLE image ADD work text DEFAULT 'due' CHECK (work IN ('due', 'taken'))",
    """
    UPDATE image SET work = CASE status WHEN 'PROCESSING' THEN 'taken' ELSE NULL END WHERE status <> 'PENDING'
    """,
    # Whoever is neither here nor there would wait for ever.
    """
    ALTER TABLE image ADD CONSTRAINT image_not_stuck CHECK (work IS NOT NULL OR status IN ('READY', 'FAILED'))
    """,
    "DROP INDEX image_due",
    "DROP INDEX image_leased",
    "CREATE INDEX image_due ON image (next_attempt_at) WHERE work = 'due' AND deleted_at IS NULL",
    "CREATE INDEX image_leased ON image (lease_until) WHERE work = 'taken' AND deleted_at IS NULL",
    """
    CREATE TABLE timeline (
        id               bigint GENERATED ALWAYS AS IDENTITY,
        image_id         uuid NOT NULL REFERENCES image ON DELETE CASCADE,
        at               timestamptz NOT NULL DEFAULT now(),
        stage            text NOT NULL,
        attempt          integer NOT NULL,
        worker           text,
        duration         interval,
        code             text,
        next_attempt_at  timestamptz,
        PRIMARY KEY (image_id, id)
    )
    """,
]
