"""Runs the migrations, one process at a time, on the connection that `gallery migrate` hands over."""

from alembic import context
from sqlalchemy import text

LOCK = 7_261_001  # of all Gallery processes that migrate one database

connection = context.config.attributes["connection"]
connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
connection.commit()
try:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
finally:
    connection.rollback()
    connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
    connection.commit()
