"""The largest pictures: those of today's phones, and how much memory each kind takes."""

import io
import struct
from pathlib import Path

import pytest

import large_pictures
from gallery.errors import SideTooLong, TooManyPixels, TooMuchMemory
from gallery.renderers.pool import open_renderers
from gallery.rendering.picture import render_picture
from gallery.rendering.picture_spec import Color, Fit, PictureSpec, Rect
from gallery.rendering.pipeline import render
from gallery.rendering.probe import Format, Limits, probe
from gallery.rendering.recipe import Recipe
from gallery.rendering.rendered import Rendered
from gallery.settings.branches import UploadSettings, WorkerSettings

MIB = 1 << 20
PHONES = [(8160, 6144), (8192, 6144), (8688, 5792), (12_000, 9_000), (16_320, 12_240)]
WHOLE_IMAGE_DECODERS = [
    "jpeg progressive",
    "jpeg cmyk progressive",
    "png interlaced",
    "gif",
    "webp alpha",
    "avif 4:4:4",
]
TURNED = {"rotate": 90, "flip": "hv"}
PADDING = {"width": 4_000, "height": 4_000, "fit": Fit.CONTAIN}
PICTURE_FORMATS = (Format.AVIF, Format.WEBP, Format.JPEG, Format.PNG)


async def render_within(file: bytes, folder: Path, memory: int, limits: Limits | None = None) -> Rendered:
    """Renders in a process with so many bytes of memory."""
    original = folder / "original"
    original.write_bytes(file)
    with open_renderers(1, deadline=60, memory=memory, scratch=folder, denied=folder / "data") as pool:
        return await pool.run(render, original, folder, Recipe(limits=limits or Limits()))


def estimated_memory(file: bytes) -> int:
    """The estimated bytes."""
    with pytest.raises(TooMuchMemory) as refusal:
        probe(io.BytesIO(file), Limits(memory=0))
    needed = refusal.value.facts["needed"]
    assert isinstance(needed, int)
    return needed


def test_the_limits_are_those_of_the_settings():
    assert Limits() == Limits(UploadSettings().max_pixels, UploadSettings().max_side, WorkerSettings().memory)


def claiming(width: int, height: int, *, mark: bytes = b"\xff\xc0", **options: bool) -> io.BytesIO:
    """A small JPEG whose header claims other sides."""
    file = large_pictures.a_jpeg(64, 48, **options)
    at = file.index(mark) + 5
    return io.BytesIO(file[:at] + struct.pack(">HH", height, width) + file[at + 4 :])


@pytest.mark.parametrize("sides", PHONES)
def test_photos_of_todays_phones_are_accepted(sides):
    assert probe(claiming(*sides), Limits()).width == sides[0]
    assert probe(claiming(*sides, mark=b"\xff\xc2", progressive=True, full_chroma=True), Limits()).width == sides[0]


def test_a_refusal_names_value_limit_and_setting():
    with pytest.raises(TooManyPixels) as pixels:
        probe(claiming(20_000, 12_000), Limits())
    assert "It has 240,000,000 (20000 × 12000); at most 200,000,000" in pixels.value.message()
    assert "(GALLERY_UPLOAD__MAX_PIXELS=200000000)" in pixels.value.message()
    with pytest.raises(SideTooLong) as side:
        probe(claiming(1_200, 100), Limits(max_side=1_000))
    assert "It has 1200 × 100 pixels; each side may have at most 1000 (GALLERY_UPLOAD__MAX_SIDE=1000)." in (
        side.value.message()
    )
    with pytest.raises(TooMuchMemory) as memory:
        probe(claiming(12_000, 9_000, mark=b"\xff\xc2", progressive=True), Limits(memory=256 * MIB))
    assert "a renderer has 268,435,456 (GALLERY_WORKER__MEMORY=268435456)" in memory.value.message()


def test_no_decoder_reads_a_jpeg_as_long_as_its_format_allows():
    assert probe(claiming(65_500, 100), Limits()).width == 65_500
    with pytest.raises(SideTooLong) as side:
        probe(claiming(100, 65_501), Limits())
    assert "each side may have at most 65500 (decoders read no longer JPEGs)" in side.value.message()


def test_a_photo_read_row_by_row_passes_where_one_in_several_scans_does_not():
    little = Limits(memory=512 * MIB)
    assert probe(claiming(12_000, 9_000), little).width == 12_000
    with pytest.raises(TooMuchMemory):
        probe(claiming(12_000, 9_000, mark=b"\xff\xc2", progressive=True, full_chroma=True), little)
    alone = claiming(12_000, 9_000, full_chroma=True).getvalue()
    scan = alone.index(b"\xff\xda") + 4
    with pytest.raises(TooMuchMemory):
        probe(io.BytesIO(alone[:scan] + b"\x01" + alone[scan + 1 :]), little)


async def test_a_jpeg_of_200_megapixels_is_rendered(tmp_path):
    facts = await render_within(large_pictures.a_jpeg(16_320, 12_240), tmp_path, WorkerSettings().memory)
    assert [(each.name, each.width, each.height) for each in facts.renditions[::2]] == [
        ("320", 320, 240),
        ("960", 960, 720),
        ("1920", 1920, 1440),
    ]


@pytest.mark.parametrize("name", ["108mp.avif", "108mp.heic.xz"])
async def test_an_avif_or_heic_of_108_megapixels_is_rendered(tmp_path, name):
    facts = await render_within(large_pictures.read_stored(name), tmp_path, WorkerSettings().memory)
    assert (facts.width, facts.height) == (12_000, 9_000)


@pytest.mark.parametrize("kind", WHOLE_IMAGE_DECODERS)
async def test_a_renderer_needs_no_more_memory_than_estimated(tmp_path, kind):
    """All kinds, and larger ones: `bench/picture_memory.py`."""
    file = large_pictures.KINDS[kind](5_000, 4_000)
    assert (await render_within(file, tmp_path, estimated_memory(file))).width == 5_000


@pytest.mark.parametrize(
    "wanted",
    [
        *(PictureSpec(format=kind, quality=80, background=Color(1, 2, 3, 100), **TURNED) for kind in PICTURE_FORMATS),
        PictureSpec(format=Format.WEBP, quality=80, rect=Rect(0, 0, 300, 200), **PADDING),
    ],
    ids=[*PICTURE_FORMATS, "padding"],
)
async def test_a_picture_on_demand_needs_no_more_memory_than_estimated(tmp_path, wanted):
    source, sides = tmp_path / "source", (4_000, 3_000)
    source.write_bytes(large_pictures.a_png(*sides, 4))
    with pytest.raises(TooMuchMemory) as refusal:
        render_picture(source, tmp_path / "picture", wanted, sides, Limits(memory=0))
    needed = refusal.value.facts["needed"]
    with open_renderers(1, deadline=60, memory=needed, scratch=tmp_path, denied=tmp_path / "data") as pool:
        made = await pool.run(render_picture, source, tmp_path / "picture", wanted, sides, Limits(memory=needed))
    assert (made.width, made.height) == ((4_000, 4_000) if wanted.rect else (3_000, 4_000))


@pytest.mark.parametrize(
    ("sides", "tallest"),
    [((320, 65_535), {"webp": (80, 16_383), "jpeg": (320, 65_500)}), ((65_535, 400), {"webp": (1920, 12)})],
)
async def test_a_panorama_is_rendered_as_large_as_the_format_can_be(tmp_path, sides, tallest):
    facts = await render_within(large_pictures.a_png(*sides), tmp_path, WorkerSettings().memory)
    assert (facts.width, facts.height) == sides
    for kind in tallest:
        last = [each for each in facts.renditions if each.format == kind][-1]
        assert (last.width, last.height) == tallest[kind]
        with (tmp_path / f"{last.name}.{kind}").open("rb") as file:
            written = probe(file, Limits())
        assert (written.width, written.height) == tallest[kind]
