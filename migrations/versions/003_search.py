"""Search and sorting: generated columns of `image`, the functions that fill them, and their indexes."""

from alembic import op

revision = "003"
down_revision = "002"

# Code points in hexadecimal, by their category in Unicode 14. A range may span unassigned code points.
PUNCTUATION = """
    20-2f 3a-40 5b-60 7b-7e a0-a5 a7-a8 ab-ac af b1 b4 b6-b8 bb bf d7 f7 2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-2ff 375 37e
    384-385 387 3f6 55a-55f 589-58a 58f 5be 5c0 5c3 5c6 5f3-5f4 606-60d 61b 61d-61f 66a-66d 6d4 700-70d 7f7-7f9
    7fe-7ff 830-83e 85e 888 964-965 970 9f2-9f3 9fb 9fd a76 af0-af1 bf9 c77 c84 df4 e3f e4f e5a-e5b f04-f12 f14
    f3a-f3d f85 fd0-fd4 fd9-fda 104a-104f 10fb 1360-1368 1400 166e 1680 169b-169c 16eb-16ed 1735-1736 17d4-17d6
    17d8-17db 1800-180a 1944-1945 1a1e-1a1f 1aa0-1aa6 1aa8-1aad 1b5a-1b60 1b7d-1b7e 1bfc-1bff 1c3b-1c3f 1c7e-1c7f
    1cc0-1cc7 1cd3 1fbd 1fbf-1fc1 1fcd-1fcf 1fdd-1fdf 1fed-1fef 1ffd-200a 2010-2029 202f-205f 207a-207e 208a-208e
    20a0-20c0 2118 2140-2144 214b 2190-2194 219a-219b 21a0 21a3 21a6 21ae 21ce-21cf 21d2 21d4 21f4-22ff 2308-230b
    2320-2321 2329-232a 237c 239b-23b3 23dc-23e1 25b7 25c1 25f8-25ff 266f 2768-2775 27c0-27ff 2900-2aff 2b30-2b44
    2b47-2b4c 2cf9-2cfc 2cfe-2cff 2d70 2e00-2e2e 2e30-2e4f 2e52-2e5d 3000-3003 3008-3011 3014-301f 3030 303d
    309b-309c 30a0 30fb a4fe-a4ff a60d-a60f a673 a67e a6f2-a716 a720-a721 a789-a78a a838 a874-a877 a8ce-a8cf
    a8f8-a8fa a8fc a92e-a92f a95f a9c1-a9cd a9de-a9df aa5c-aa5f aade-aadf aaf0-aaf1 ab5b ab6a-ab6b abeb fb29
    fbb2-fbc2 fd3e-fd3f fdfc fe10-fe19 fe30-fe6b ff01-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffe3 ffe5-ffe6
    ffe9-ffec 10100-10102 1039f 103d0 1056f 10857 1091f 1093f 10a50-10a58 10a7f 10af0-10af6 10b39-10b3f 10b99-10b9c
    10ead 10f55-10f59 10f86-10f89 11047-1104d 110bb-110bc 110be-110c1 11140-11143 11174-11175 111c5-111c8 111cd
    111db 111dd-111df 11238-1123d 112a9 1144b-1144f 1145a-1145d 114c6 115c1-115d7 11641-11643 11660-1166c 116b9
    1173c-1173e 1183b 11944-11946 119e2 11a3f-11a46 11a9a-11a9c 11a9e-11aa2 11c41-11c45 11c70-11c71 11ef7-11ef8
    11fdd-11fe0 11fff 12470-12474 12ff1-12ff2 16a6e-16a6f 16af5 16b37-16b3b 16b44 16e97-16e9a 16fe2 1bc9f 1d6c1
    1d6db 1d6fb 1d715 1d735 1d74f 1d76f 1d789 1d7a9 1d7c3 1da87-1da8b 1e2ff 1e95e-1e95f 1ecb0 1eef0-1eef1
    1f3fb-1f3ff
"""  # P, Z, Sm, Sc and Sk: punctuation, space, and signs of mathematics, money and letters' modification
SYMBOLS = """
    a6 a9 ae b0 482 58d-58e 60e-60f 6de 6e9 6fd-6fe 7f6 9fa b70 bf3-bf8 bfa c7f d4f d79 f01-f03 f13 f15-f17 f1a-f1f
    f34 f36 f38 fbe-fc5 fc7-fcf fd5-fd8 109e-109f 1390-1399 166d 1940 19de-19ff 1b61-1b6a 1b74-1b7c 2100-2101
    2103-2106 2108-2109 2114 2116-2117 211e-2123 2125 2127 2129 212e 213a-213b 214a 214c-214d 214f 218a-218b
    2195-2199 219c-219f 21a1-21a2 21a4-21a5 21a7-21ad 21af-21cd 21d0-21d1 21d3 21d5-21f3 2300-2307 230c-231f
    2322-2328 232b-237b 237d-239a 23b4-23db 23e2-244a 249c-24e9 2500-25b6 25b8-25c0 25c2-25f7 2600-266e 2670-2767
    2794-27bf 2800-28ff 2b00-2b2f 2b45-2b46 2b4d-2bff 2ce5-2cea 2e50-2e51 2e80-2ffb 3004 3012-3013 3020 3036-3037
    303e-303f 3190-3191 3196-319f 31c0-31e3 3200-321e 322a-3247 3250 3260-327f 328a-32b0 32c0-33ff 4dc0-4dff
    a490-a4c6 a828-a82b a836-a837 a839 aa77-aa79 fd40-fd4f fdcf fdfd-fdff ffe4 ffe8 ffed-ffee fffc-fffd 10137-1013f
    10179-10189 1018c-101fc 10877-10878 10ac8 1173f 11fd5-11fdc 11fe1-11ff1 16b3c-16b3f 16b45 1bc9c 1cf50-1d164
    1d16a-1d16c 1d183-1d184 1d18c-1d1a9 1d1ae-1d241 1d245 1d300-1d356 1d800-1d9ff 1da37-1da3a 1da6d-1da74
    1da76-1da83 1da85-1da86 1e14f 1ecac 1ed2e 1f000-1f0f5 1f10d-1f3fa 1f400-1fbca
"""  # So: emoji and similar symbols; each is a word of its own
IGNORED = """
    ad 600-605 61c 6dd 70f 890-891 8e2 180e 200b-200f 202a-202e 2060-2064 2066-206f feff fff9-fffb 110bd 110cd
    13430-13438 1bca0-1bca3 1d173-1d17a
    591-5bd 5bf 5c1-5c2 5c4-5c5 5c7 610-61a 640 64b-65f 670 6d6-6dc 6df-6e4 6e7-6e8 6ea-6ed 8ca-8e1 8e3-8ff fb1e
    fe00-fe0f
"""  # Cf: joiners and marks of direction; then the points of Hebrew and Arabic, tatweel and variation selectors


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def _character_class(ranges: str) -> str:
    """A regular expression's character class. Every code point is escaped, so none has a special meaning."""
    return f"[{''.join('-'.join(_escape(end) for end in each.split('-')) for each in ranges.split())}]"


def _escape(code_point: str) -> str:
    return f"\\U{int(code_point, 16):08x}"


STATEMENTS = [
    # All three extensions are trusted: a user who may create objects in the database may create them.
    "CREATE EXTENSION IF NOT EXISTS unaccent",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE EXTENSION IF NOT EXISTS btree_gin",
    # Declared IMMUTABLE, which is true as long as the rules of `unaccent` stay as they are. A body with RETURN is
    # parsed here, so it does not depend on the search path of a later session.
    """
    CREATE FUNCTION gallery_fold(value text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(unaccent('unaccent'::regdictionary, normalize(value, NFKC)))
    """,
    # Folded words, each with one space before it. Signs of all scripts separate words, so no sign with a meaning in
    # LIKE is left. Marks that many writers leave out are removed. A final sigma becomes a sigma.
    rf"""
    CREATE FUNCTION gallery_search_text(value text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN rtrim(regexp_replace(
        ' ' || translate(
            regexp_replace(
                regexp_replace(
                    gallery_fold(regexp_replace(normalize(value, NFKD), '{_character_class(IGNORED)}', '', 'g')),
                    '{_character_class(PUNCTUATION)}', ' ', 'g'
                ),
                '({_character_class(SYMBOLS)})', ' \1 ', 'g'
            ),
            'ς', 'σ'
        ),
        '\s+', ' ', 'g'
    ))
    """,
    # Declared IMMUTABLE: `array_to_string` is only STABLE because of arrays whose elements are not text.
    """
    CREATE FUNCTION gallery_search_text(title text, description text, alt text, name text, tags text[])
    RETURNS text IMMUTABLE STRICT PARALLEL SAFE
    RETURN gallery_search_text(
        title || ' ' || description || ' ' || alt || ' ' || name || ' ' || array_to_string(tags, ' ')
    )
    """,
    # The time on the camera's clock, without a time zone: many cameras do not know theirs.
    r"""
    CREATE FUNCTION gallery_taken_at(exif jsonb) RETURNS timestamp IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE WHEN exif ->> 'takenAt' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d' THEN make_timestamp(
        substr(exif ->> 'takenAt', 1, 4)::integer, substr(exif ->> 'takenAt', 6, 2)::integer,
        substr(exif ->> 'takenAt', 9, 2)::integer, substr(exif ->> 'takenAt', 12, 2)::integer,
        substr(exif ->> 'takenAt', 15, 2)::integer, substr(exif ->> 'takenAt', 18, 2)::double precision
    ) END
    """,
    """
    ALTER TABLE image
        ADD search_text text NOT NULL
            GENERATED ALWAYS AS (gallery_search_text(title, description, alt, original_name, tags)) STORED,
        ADD title_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (left(gallery_fold(title), 120)) STORED,
        ADD taken_at timestamp GENERATED ALWAYS AS (gallery_taken_at(exif)) STORED
    """,
    """
    CREATE INDEX image_last_taken ON image (owner, (coalesce(taken_at, '-infinity')) DESC, id DESC)
    WHERE deleted_at IS NULL
    """,
    "CREATE INDEX image_by_title ON image (owner, title_key, id) WHERE deleted_at IS NULL",
    "CREATE INDEX image_largest ON image (owner, size DESC, id DESC) WHERE deleted_at IS NULL",
    # The owner is the first column, so a search reads only that owner's images. `fastupdate` is off, because every
    # search would have to read the whole pending list.
    """
    CREATE INDEX image_search ON image USING gin (owner, search_text gin_trgm_ops, tags) WITH (fastupdate = off)
    WHERE deleted_at IS NULL
    """,
]
