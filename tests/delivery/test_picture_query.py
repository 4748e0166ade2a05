"""The grammar of pictures on demand: one value, one canonical spelling."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.delivery.picture_query import PLACES, PictureQuery, canonical, expand, parse
from gallery.errors import InvalidField, PresetNotFound
from gallery.rendering.picture_spec import Color, Fit, Gravity, Point, Rect


def decimals(low, high):
    return st.integers(round(low * 1000), round(high * 1000)).map(lambda n: n / 1000)


shares = decimals(0, 1)
bytes_ = st.integers(0, 255)
sides = st.integers(1, 8192)
FREE = {
    "bg": st.builds(Color, bytes_, bytes_, bytes_, bytes_),
    "blur": decimals(0.3, 100),
    "dpr": decimals(1, 4),
    "flip": st.sampled_from(["h", "v", "hv"]),
    "format": st.sampled_from(["auto", "avif", "webp", "jpeg", "png"]),
    "gray": st.just(True),
    "h": sides,
    "q": st.integers(1, 100),
    "rect": st.builds(Rect, st.integers(0, 9999), st.integers(0, 9999), sides, sides),
    "rotate": st.sampled_from([90, 180, 270]),
    "sharpen": decimals(0.1, 10),
    "w": sides,
}
FOCUS = st.one_of(st.sampled_from([*PLACES, *Gravity]).map(str), st.builds(Point, shares, shares))


@st.composite
def queries(draw):
    fields = draw(st.fixed_dictionaries({}, optional=FREE))
    fit = draw(st.one_of(st.none(), st.sampled_from(Fit)))
    if fit is Fit.COVER:
        fields["focus"] = draw(st.one_of(st.none(), FOCUS))
    return PictureQuery(fit=fit, **fields)


@given(queries())
def test_the_canonical_spelling_is_read_as_the_same_query(query):
    assert parse(parse_qsl(canonical(query), keep_blank_values=True)) == query


@given(queries(), st.randoms())
def test_the_order_of_parameters_does_not_matter(query, random):
    pairs = parse_qsl(canonical(query))
    random.shuffle(pairs)
    assert canonical(parse(pairs)) == canonical(query)


@given(queries())
def test_the_canonical_spelling_is_in_alphabetical_order(query):
    names = [name for name, _ in parse_qsl(canonical(query))]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("sent", "spelling"),
    [
        ("w=0800&dpr=2.0", "dpr=2&w=800"),
        ("h=10&w=20&fit=cover&focus=0.50,1", "fit=cover&focus=0.5,1&h=10&w=20"),
        ("rect=0%2C0%2C10%2C20", "rect=0,0,10,20"),
        ("bg=FFAA00", "bg=ffaa00"),
        ("bg=ffaa00ff", "bg=ffaa00"),
        ("bg=ffaa0080", "bg=ffaa0080"),
        ("blur=100&gray=true", "blur=100&gray=true"),
        ("preset=avatar&v=abc&dpr=1.50", "dpr=1.5&preset=avatar"),
        ("w=1&kid=a&exp=1&sig=b", "w=1"),
        ("", ""),
    ],
)
def test_each_value_has_one_spelling(sent, spelling):
    assert canonical(parse(parse_qsl(sent))) == spelling


@pytest.mark.parametrize(
    ("sent", "pointer"),
    [
        ("width=10", "/width"),
        ("w=0", "/w"),
        ("w=8193", "/w"),
        ("w=1.5", "/w"),
        ("w=-1", "/w"),
        ("w=", "/w"),
        ("w=١", "/w"),
        ("w=1&w=2", "/w"),
        ("h=1e3", "/h"),
        ("dpr=0.9", "/dpr"),
        ("dpr=4.1", "/dpr"),
        ("dpr=nan", "/dpr"),
        ("dpr=2.0000001", "/dpr"),
        ("fit=crop", "/fit"),
        ("fit=COVER", "/fit"),
        ("focus=0.5,0.5", "/focus"),
        ("fit=contain&focus=top", "/focus"),
        ("fit=cover&focus=1.1,0", "/focus"),
        ("fit=cover&focus=0.5", "/focus"),
        ("fit=cover&focus=middle", "/focus"),
        ("rect=1,2,3", "/rect"),
        ("rect=1,2,0,4", "/rect"),
        ("rect=-1,2,3,4", "/rect"),
        ("rotate=0", "/rotate"),
        ("rotate=45", "/rotate"),
        ("flip=vh", "/flip"),
        ("format=gif", "/format"),
        ("q=0", "/q"),
        ("q=101", "/q"),
        ("bg=fff", "/bg"),
        ("bg=red", "/bg"),
        ("blur=0.2", "/blur"),
        ("blur=100.1", "/blur"),
        ("sharpen=0", "/sharpen"),
        ("gray=false", "/gray"),
        ("preset=Avatar", "/preset"),
        ("preset=avatar&w=10", "/w"),
        ("preset=avatar&q=10", "/q"),
    ],
)
def test_an_invalid_parameter_is_pointed_at(sent, pointer):
    with pytest.raises(InvalidField) as caught:
        parse(parse_qsl(sent, keep_blank_values=True))
    assert caught.value.pointer == pointer


def test_a_preset_stands_for_its_parameters():
    presets = {"avatar": PictureQuery(w=96, h=96, fit=Fit.COVER, dpr=2.0)}
    assert expand(PictureQuery(preset="avatar"), presets) == presets["avatar"]
    assert expand(PictureQuery(preset="avatar", dpr=3.0, format="png"), presets) == PictureQuery(
        w=96, h=96, fit=Fit.COVER, dpr=3.0, format="png"
    )
    with pytest.raises(PresetNotFound):
        expand(PictureQuery(preset="banner"), presets)
