"""An index for words such as emoji, of which the trigram index has nothing."""

from alembic import op

from gallery.adapters.postgres.migrations import outside_transaction

revision = "005"
down_revision = "004"


def upgrade() -> None:
    op.execute(FIRST_SYMBOLS)
    with outside_transaction(op):
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS image_symbols")  # what is left of a run that was interrupted
        op.execute(INDEX)


# The first characters of the words that begin with no letter and no digit. Every symbol is a word of its own in
# `search_text`, see migration 003.
FIRST_SYMBOLS = """
    CREATE OR REPLACE FUNCTION gallery_first_symbols(search_text text) RETURNS text[] IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT DISTINCT found[1] FROM regexp_matches(search_text, ' ([^[:alnum:] ])', 'g') AS found)
"""
# Few images have such words. The condition keeps all others out of the index, and their changes cheap.
INDEX = """
    CREATE INDEX CONCURRENTLY image_symbols ON image
    USING gin (owner, gallery_first_symbols(search_text)) WITH (fastupdate = off)
    WHERE deleted_at IS NULL AND search_text ~ ' [^[:alnum:] ]'
"""
