"""The file that a picture on demand is made from."""

from datetime import UTC, datetime

import pytest

from gallery.access.model import Owner
from gallery.delivery.picture_source import choose_source
from gallery.images.model import Image, ImageId, Lane, Rendition, Visibility
from gallery.rendering.picture_spec import Fit, PictureSpec, Rect
from gallery.rendering.probe import Format

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_image(mime_type: str = "image/jpeg", width: int = 4032, height: int = 3024) -> Image:
    renditions = [
        Rendition(str(wide), kind, wide, round(wide * height / width), 1000)
        for wide in (320, 960, 1920)
        for kind in (Format.WEBP, Format.JPEG)
    ]
    return Image(
        **dict.fromkeys(("title", "description", "alt", "original_name", "sha256"), ""),
        **dict.fromkeys(("next_attempt_at", "created_at", "updated_at"), NOW),
        id=ImageId("an image"),
        owner=Owner("maya"),
        tags=[],
        size=1,
        animated=False,
        visibility=Visibility.PRIVATE,
        lane=next(iter(Lane)),
        queue_position=1,
        mime_type=mime_type,
        width=width,
        height=height,
        renditions=renditions,
    )


def source(image: Image, **fields) -> str:
    """The name and the format of the rendition, or "original"."""
    rendition = choose_source(image, PictureSpec(**({"format": Format.WEBP, "quality": 80} | fields)))
    return "original" if rendition is None else f"{rendition.name}.{rendition.format}"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"width": 160}, "320.jpeg"),
        ({"width": 161}, "960.jpeg"),
        ({"width": 480}, "960.jpeg"),
        ({"width": 800, "height": 600}, "1920.jpeg"),
        ({"width": 961}, "original"),
        ({}, "original"),
        ({"width": 240, "rotate": 90}, "960.jpeg"),  # 240 × 320 of a picture that lies
        ({"width": 361, "rotate": 90}, "1920.jpeg"),
        ({"width": 400, "height": 400, "fit": Fit.COVER}, "1920.jpeg"),  # 533 × 400 before it is cut
        ({"width": 100, "height": 400, "fit": Fit.FILL}, "1920.jpeg"),
        ({"width": 100, "rect": Rect(0, 0, 2016, 1512)}, "960.jpeg"),
        ({"width": 100, "rect": Rect(0, 0, 400, 400)}, "original"),
        ({"width": 160, "format": Format.PNG}, "original"),
        ({"width": 160, "sharpen": 1.0}, "original"),
        ({"width": 160, "quality": 85}, "320.jpeg"),
        ({"width": 160, "quality": 86}, "original"),
    ],
)
def test_the_source_is_the_smallest_rendition_of_twice_the_sides(fields, expected):
    assert source(an_image(), **fields) == expected


def test_the_source_of_a_picture_that_may_be_transparent_is_webp():
    assert source(an_image("image/png"), width=160) == "320.webp"
