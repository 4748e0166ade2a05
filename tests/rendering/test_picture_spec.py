"""The geometry of pictures on demand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.rendering.picture_spec import (
    MAX_SIDE,
    Fit,
    Layout,
    PictureSpec,
    Point,
    Rect,
    clip,
    crop_corner,
    cut_sides,
    layout,
    turned,
)
from gallery.rendering.probe import Format

sides = st.integers(1, 20_000)
boxes = st.one_of(st.none(), st.integers(1, MAX_SIDE))


def spec(**fields):
    return PictureSpec(format=Format.WEBP, quality=80, **fields)


specs = st.builds(spec, width=boxes, height=boxes, fit=st.sampled_from(Fit), rotate=st.sampled_from([0, 90, 180, 270]))


@given(specs, sides, sides)
def test_a_picture_is_never_enlarged(wanted, width, height):
    found = layout(wanted, width, height)
    wide, high = cut_sides(wanted, width, height)
    assert found.size[0] <= wide
    assert found.size[1] <= high


@given(specs, sides, sides)
def test_no_side_is_empty_or_longer_than_the_box(wanted, width, height):
    found = layout(wanted, width, height)
    for side, box in zip(found.result, (wanted.width, wanted.height), strict=True):
        assert 1 <= side <= (box or MAX_SIDE)


@given(st.integers(1, MAX_SIDE), st.integers(1, MAX_SIDE), sides, sides)
def test_cover_fills_a_box_of_the_same_ratio(box_width, box_height, width, height):
    found = layout(spec(width=box_width, height=box_height, fit=Fit.COVER), width, height)
    assert found.crop
    assert found.size[0] >= found.crop[0]
    assert found.size[1] >= found.crop[1]
    if box_width <= width and box_height <= height:
        assert found.crop == (box_width, box_height)
    else:  # to the nearest pixel
        scale = min(width / box_width, height / box_height)
        assert found.crop == (max(1, round(box_width * scale)), max(1, round(box_height * scale)))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (spec(), Layout((1200, 900))),
        (spec(width=300), Layout((300, 225))),
        (spec(height=300), Layout((400, 300))),
        (spec(width=500, height=300), Layout((400, 300))),
        (spec(width=2000), Layout((1200, 900))),
        (spec(width=333), Layout((333, 250))),  # 249.75
        (spec(width=300, height=300, fit=Fit.COVER), Layout((400, 300), crop=(300, 300))),
        (spec(width=3000, height=1500, fit=Fit.COVER), Layout((1200, 900), crop=(1200, 600))),
        (spec(width=300, fit=Fit.COVER), Layout((300, 225))),
        (spec(height=300, fit=Fit.CONTAIN), Layout((400, 300))),
        (spec(width=300, height=300, fit=Fit.CONTAIN), Layout((300, 225), canvas=(300, 300))),
        (spec(width=2000, height=2000, fit=Fit.CONTAIN), Layout((1200, 900), canvas=(2000, 2000))),
        (spec(width=300, height=600, fit=Fit.FILL), Layout((300, 600))),
        (spec(width=300, height=2000, fit=Fit.FILL), Layout((300, 900))),
        (spec(width=300, rotate=90), Layout((300, 400))),
        (spec(width=50, rect=Rect(0, 0, 100, 200)), Layout((50, 100))),
        (spec(width=50, rect=Rect(0, 0, 100, 200), rotate=270), Layout((50, 25))),
    ],
)
def test_the_layout_of_a_picture_of_1200_by_900(wanted, expected):
    assert layout(wanted, 1200, 900) == expected


def test_a_picture_longer_than_any_side_is_shrunk():
    assert layout(spec(), 16_384, 8192).result == (8192, 4096)


def test_a_rect_is_cut_at_the_edge():
    assert clip(Rect(1100, 800, 500, 500), 1200, 900) == Rect(1100, 800, 100, 100)
    assert clip(Rect(1200, 0, 10, 10), 1200, 900) is None


@given(shares := st.floats(0, 1), shares, st.tuples(sides, sides), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_crop_is_inside_and_near_its_focus(x, y, size, part_x, part_y):
    crop = max(1, round(size[0] * part_x)), max(1, round(size[1] * part_y))
    corner = crop_corner(size, crop, Point(x, y))
    for at, part, side, share in zip(corner, crop, size, (x, y), strict=True):
        assert 0 <= at <= side - part
        assert abs(at + part / 2 - share * side) <= 1 or at in (0, side - part)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (spec(), Point(0.25, 0.75)),
        (spec(rotate=90), Point(0.25, 0.25)),
        (spec(rotate=180), Point(0.75, 0.25)),
        (spec(rotate=270), Point(0.75, 0.75)),
        (spec(flip="h"), Point(0.75, 0.75)),
        (spec(flip="hv"), Point(0.75, 0.25)),
        (spec(rect=Rect(0, 0, 600, 900)), Point(0.5, 0.75)),
        (spec(rect=Rect(600, 0, 600, 900)), Point(0, 0.75)),  # the nearest point that is left of it
    ],
)
def test_a_point_of_the_image_is_found_again_in_what_was_cut_and_turned(wanted, expected):
    assert turned(Point(0.25, 0.75), wanted, 1200, 900) == pytest.approx(expected)
