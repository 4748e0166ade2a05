"""Conditional requests and cursors, for any input."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.conditions import expected_versions, unchanged
from gallery.errors import InvalidField
from gallery.paging import Cursor


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ('"3"', True),
        ('W/"3"', True),
        ('"2"', False),
        ('"2", "3"', True),
        ("*", True),
        ("3", False),
        ('"33"', False),
        ("", False),
        ('"3', False),
    ],
)
def test_unchanged(header, expected):
    assert unchanged(header, "3") is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("*", None),
        ('"3"', [3]),
        ('"3", "4"', [3, 4]),
        ('W/"3"', []),
        ('"x"', []),
        ("", []),
        ('"99999999999999"', []),
        ('"3-1764410400-k1"', [3]),
        ('"3x", "-3", "3.5"', []),
    ],
)
def test_expected_versions(header, expected):
    assert expected_versions(header) == expected


@given(st.text())
def test_any_header_is_read(header):
    assert unchanged(header, "3") in (True, False)
    assert expected_versions(header) is None or all(version >= 0 for version in expected_versions(header))


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=120) | st.integers(0, 1 << 62) | st.none(), st.uuids()
)
def test_a_cursor_survives_encoding(key: str | int | None, row: UUID):
    cursor = Cursor("of a list", key, row)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text())
def test_any_other_cursor_is_refused(text):
    with pytest.raises(InvalidField):
        Cursor.decode(text)
