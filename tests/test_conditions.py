"""Conditional requests and cursors: right for whatever is sent."""

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
def test_who_has_version_three(header, expected):
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
    ],
)
def test_which_versions_may_be_changed(header, expected):
    assert expected_versions(header) == expected


@given(st.text())
def test_no_header_is_too_strange(header):
    assert unchanged(header, "3") in (True, False)
    assert expected_versions(header) is None or all(version >= 0 for version in expected_versions(header))


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=120) | st.integers(0, 1 << 62) | st.none(), st.uuids()
)
def test_a_cursor_comes_back_as_it_went(key: str | int | None, row: UUID):
    cursor = Cursor("of a list", key, row)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text())
def test_a_strange_cursor_is_refused_and_nothing_else(text):
    with pytest.raises(InvalidField):
        Cursor.decode(text)
