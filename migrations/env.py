"""Runs the migrations, one process at a time, on the connection that `gallery migrate` hands over.

The API goes on meanwhile, so no step may keep it waiting. One that wants a table's lock gives up after a moment and is
begun again (`adapters/postgres/migrations.py`), as later sessions in PostgreSQL's queue would wait as well; and one
that takes long is ended, unless the operator has said that it may.
"""

import time

from alembic import context
from sqlalchemy import text

MIGRATION_LOCK_ID = 7_261_001  # of all Gallery processes that migrate one database
LOCK_TIMEOUT = "2s"
STATEMENT_TIMEOUT = "30s"  # CREATE INDEX CONCURRENTLY blocks nobody, and is let be: see `beside_everybody`

connection = context.config.attributes["connection"]
slow = context.config.attributes.get("slow", False)


def execute(statement: str) -> bool:
    answer = bool(connection.execute(text(statement)).scalar())
    connection.commit()  # who waits must not have a snapshot: CREATE INDEX CONCURRENTLY would wait for it
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
