"""Runs the migrations, one process at a time, on the connection that `gallery migrate` hands over.

The API serves requests meanwhile, so no step may block it for long. A step that does not get a table's lock gives up
after a moment and is tried again (`adapters/postgres/migrations.py`): statements that queue behind it would wait too.
A statement that takes long is cancelled, unless the operator has given `--slow`.
"""

import time

from alembic import context
from sqlalchemy import text

MIGRATION_LOCK_ID = 7_261_001  # of all Gallery processes that migrate one database
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "30s"  # `outside_transaction` lifts both for CREATE INDEX CONCURRENTLY, which blocks nothing

connection = context.config.attributes["connection"]
slow = context.config.attributes.get("slow", False)


def execute(statement: str) -> bool:
    answer = bool(connection.execute(text(statement)).scalar())
    connection.commit()  # a waiting process must not hold a snapshot: CREATE INDEX CONCURRENTLY would wait for it
    return answer


while not execute(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK_ID})"):
    time.sleep(0.1)
try:
    execute(f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT}', false) IS NOT NULL")
    execute(f"SELECT set_config('statement_timeout', '{0 if slow else STATEMENT_TIMEOUT}', false) IS NOT NULL")
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
finally:
    connection.rollback()
    execute(f"SELECT pg_advisory_unlock({MIGRATION_LOCK_ID})")
