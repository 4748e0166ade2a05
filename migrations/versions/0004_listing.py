"""What lists are sorted by, and what a search looks at: columns that follow from the others, and their indexes."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # All three are "trusted": who may create in the database may create them.
    "CREATE EXTENSION IF NOT EXISTS unaccent",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE EXTENSION IF NOT EXISTS btree_gin",
    # Said to be immutable, which is true for as long as nobody changes the rules of `unaccent`. A body with RETURN is
    # parsed here, so that it does not depend on anybody's search path.
    """
    CREATE FUNCTION gallery_fold(words text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(unaccent('unaccent'::regdictionary, normalize(words, NFKC)))
    """,
    # Folded words, each with one space before it. What ASCII has for signs parts words; none of them is left, and so
    # none that means something to LIKE. A final sigma is a sigma.
    r"""
    CREATE FUNCTION gallery_words(words text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN rtrim(regexp_replace(
        ' ' || translate(gallery_fold(words), '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~ς', repeat(' ', 32) || 'σ'),
        '\s+', ' ', 'g'
    ))
    """,
    # `array_to_string` is only said to be stable, because of elements that are not text.
    """
    CREATE FUNCTION gallery_words(title text, description text, alt text, name text, tags text[])
    RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN gallery_words(title || ' ' || description || ' ' || alt || ' ' || name || ' ' || array_to_string(tags, ' '))
    """,
    # The camera's clock as it was, without its zone: many cameras do not know theirs.
    r"""
    CREATE FUNCTION gallery_taken(exif jsonb) RETURNS timestamp IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE WHEN exif ->> 'takenAt' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d' THEN make_timestamp(
        substr(exif ->> 'takenAt', 1, 4)::integer, substr(exif ->> 'takenAt', 6, 2)::integer,
        substr(exif ->> 'takenAt', 9, 2)::integer, substr(exif ->> 'takenAt', 12, 2)::integer,
        substr(exif ->> 'takenAt', 15, 2)::integer, substr(exif ->> 'takenAt', 18, 2)::double precision
    ) END
    """,
    """
    ALTER TABLE image
        ADD words text NOT NULL
            GENERATED ALWAYS AS (gallery_words(title, description, alt, original_name, tags)) STORED,
        ADD title_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (left(gallery_fold(title), 120)) STORED,
        ADD taken_at timestamp GENERATED ALWAYS AS (gallery_taken(exif)) STORED
    """,
    """
    CREATE INDEX image_last_taken ON image (owner, (coalesce(taken_at, '-infinity')) DESC, id DESC)
    WHERE deleted_at IS NULL
    """,
    "CREATE INDEX image_by_title ON image (owner, title_key, id) WHERE deleted_at IS NULL",
    "CREATE INDEX image_largest ON image (owner, size DESC, id DESC) WHERE deleted_at IS NULL",
    # With the owner in it, a search among few images does not look at everybody's. Without a pending list, which every
    # search would have to read from end to end.
    """
    CREATE INDEX image_search ON image USING gin (owner, words gin_trgm_ops, tags) WITH (fastupdate = off)
    WHERE deleted_at IS NULL
    """,
]
