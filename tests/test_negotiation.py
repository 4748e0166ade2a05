"""Content negotiation with any `Accept` header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.negotiation import MAX_RANGES, best, media_ranges

OFFERED = ["text/html", "application/json"]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "text/html"),
        ("", "text/html"),
        (",,;;", "text/html"),
        ("*/*", "text/html"),
        (BROWSER, "text/html"),
        ("TEXT/HTML", "text/html"),
        ("text/html;level=1", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json, text/html", "application/json"),
        ("application/*", "application/json"),
        ("text/html;q=0.3, application/json;q=0.31", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("text/html;q=0", None),
        ("image/png", None),
        ("text/html;q=.5, application/json;q=0.4", "text/html"),
        ("text/html; q = 0.2 ; v=1, application/json;q=0.4", "application/json"),
    ],
)
def test_the_best_type_is_found(accept, expected):
    assert best(accept, OFFERED) == expected


@pytest.mark.parametrize(
    "weight", ["inf", "-inf", "nan", "1e999", "-1", "2", "", "x", "1e1", "0x1", "9" * 5000, "\xb2"]
)
def test_an_invalid_weight_is_ignored(weight):
    assert best(f"text/html;q={weight}, application/json;q=0.9", OFFERED) == "text/html"
    assert best(f"text/html;q=0.9, application/json;q={weight}", OFFERED) == "application/json"


@given(st.text(alphabet=st.characters(max_codepoint=255)) | st.text(alphabet="text/html*,;q=.01e9inf \t"))
def test_any_header_is_read(accept):
    assert best(accept, OFFERED) in (*OFFERED, None)


def test_a_header_with_very_many_types_is_read_up_to_a_limit():
    assert len(media_ranges("*/*," * 14_000 + "text/html")) == MAX_RANGES
    assert best("*/*;q=0.1," * (MAX_RANGES - 1) + "application/json", OFFERED) == "application/json"
