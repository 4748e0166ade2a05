"""Every parameter of a picture on demand, in pixels, against Pillow, NumPy and SciPy.

Longer than 320 lines on purpose: all parameters are checked by the same few helpers.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from scipy import ndimage
from skimage.registration import phase_cross_correlation

import photos
from gallery.errors import TooMuchMemory
from gallery.rendering.picture import render_picture
from gallery.rendering.picture_spec import Color, Fit, Gravity, PictureSpec, Point, Rect
from gallery.rendering.probe import Format, Limits
from rendering.samples import P3_PROFILE, saved

WIDTH, HEIGHT = 600, 450
LANCZOS = Image.Resampling.LANCZOS
TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
MakePicture = Callable[..., Image.Image]


@pytest.fixture
def make(tmp_path: Path) -> MakePicture:
    """Renders a file, by default without loss, and opens the result by Pillow."""
    source, target = tmp_path / "source", tmp_path / "target"

    def from_file(file: bytes, sides=(WIDTH, HEIGHT), limits=Limits(), **fields) -> Image.Image:  # noqa: B008 - frozen
        source.write_bytes(file)
        spec = PictureSpec(**({"format": Format.PNG, "quality": 100} | fields))
        made = render_picture(source, target, spec, sides, limits)
        picture = photos.opened(target.read_bytes())
        assert picture.size == (made.width, made.height)
        return picture

    return from_file


@pytest.fixture
def photo() -> Image.Image:
    return photos.photo(WIDTH, HEIGHT)


def png(picture: Image.Image) -> bytes:
    return saved(picture, "PNG", compress_level=1)


def a_png() -> bytes:
    return photos.a_png(WIDTH, HEIGHT)


def levels(picture: Image.Image, mode: str = "RGB") -> np.ndarray:
    """Values as numbers that do not wrap around."""
    return np.asarray(picture.convert(mode), np.float64)


def assert_same(one: Image.Image, other: Image.Image, *, mean: float, most: float = 255) -> None:
    """By the mean and the largest difference of the values, 0 to 255."""
    assert one.size == other.size
    mode = "RGBA" if "A" in one.getbands() or "A" in other.getbands() else "RGB"
    difference = np.abs(levels(one, mode) - levels(other, mode))
    assert difference.mean() <= mean
    assert difference.max() <= most


def shift_between(one: Image.Image, other: Image.Image) -> float:
    """How far two like pictures are shifted against each other, in pixels."""
    shift, _, _ = phase_cross_correlation(levels(one, "L"), levels(other, "L"), upsample_factor=20)
    return float(np.hypot(*shift))


def turned(picture: Image.Image, rotate: int, flip: str) -> Image.Image:
    if rotate:
        picture = picture.transpose(TURNS[rotate])
    if "h" in flip:
        picture = ImageOps.mirror(picture)
    return ImageOps.flip(picture) if "v" in flip else picture


# --- geometry -----------------------------------------------------------------------------------------------------


def test_without_parameters_it_is_the_whole_picture(make, photo):
    assert_same(make(a_png()), photo, mean=0)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["", "h", "v", "hv"])
@pytest.mark.parametrize("rect", [None, Rect(31, 57, 200, 101)])
def test_a_cut_and_turned_picture_has_the_same_pixels(make, photo, rotate, flip, rect):
    expected = turned(photo if rect is None else photo.crop((31, 57, 231, 158)), rotate, flip)
    assert_same(make(a_png(), rect=rect, rotate=rotate, flip=flip), expected, mean=0)


@pytest.mark.parametrize(
    ("fields", "size", "box"),
    [
        ({"width": 200}, (200, 150), None),
        ({"height": 90}, (120, 90), None),
        ({"width": 200, "height": 50}, (67, 50), None),
        ({"width": 123, "height": 300, "fit": Fit.FILL}, (123, 300), None),
        ({"width": 100, "height": 100, "fit": Fit.COVER}, (133, 100), (16, 0)),
        ({"width": 100, "height": 100, "fit": Fit.COVER, "focus": Point(0, 0.5)}, (133, 100), (0, 0)),
        ({"width": 100, "height": 100, "fit": Fit.COVER, "focus": Point(1, 0.5)}, (133, 100), (33, 0)),
        ({"width": 100, "height": 100, "fit": Fit.COVER, "focus": Point(0.6, 0.5)}, (133, 100), (30, 0)),
        ({"width": 300, "height": 100, "fit": Fit.COVER, "focus": Point(0.5, 0)}, (300, 225), (0, 0)),
        ({"width": 300, "height": 100, "fit": Fit.COVER, "focus": Point(0.5, 1)}, (300, 225), (0, 125)),
        ({"width": 900, "height": 450, "fit": Fit.COVER}, (600, 450), (0, 75)),
    ],
)
def test_a_size_is_as_by_pillow(make, photo, fields, size, box):
    """`box` is the corner of what is cut out of the picture of this size."""
    expected = photo.resize(size, LANCZOS)
    if box is not None:
        width = min(fields["width"], 600)
        expected = expected.crop((*box, box[0] + width, box[1] + width * fields["height"] // fields["width"]))
    made = make(a_png(), **fields)
    assert_same(made, expected, mean=1.5)
    assert shift_between(made, expected) <= 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("rect", [Rect(101, 63, 1001, 707), Rect(3, 5, 1190, 890)])
def test_all_steps_hold_for_a_jpeg_of_any_orientation(make, orientation, rect):
    """It is shrunk while it is decoded, so that a rect falls between its pixels."""
    file = photos.a_jpeg(1200, 900, orientation=orientation, quality=95)
    upright = photos.photo(1200, 900).crop((rect.x, rect.y, rect.x + rect.width, rect.y + rect.height))
    width, height = 100, round(100 * rect.width / rect.height)
    top = round(0.6 * height - 50)
    expected = turned(upright, 90, "h").resize((100, height), LANCZOS).crop((0, top, 100, top + 100))
    box = {"width": width, "height": 100, "fit": Fit.COVER, "focus": Point(0.5, 0.6)}
    made = make(file, (1200, 900), rect=rect, rotate=90, flip="h", **box)
    assert_same(made, expected, mean=5)
    assert photos.likeness(made, expected) >= 0.95
    assert shift_between(made, expected) <= 0.3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright_before_anything_else(make, photo, orientation):
    file = photos.a_jpeg(WIDTH, HEIGHT, orientation=orientation)
    assert_same(make(file, width=200), photo.resize((200, 150), LANCZOS), mean=4)
    assert_same(make(file, rect=Rect(300, 100, 200, 300)), photo.crop((300, 100, 500, 400)), mean=4)
    small = make(file, rect=Rect(160, 80, 320, 240), width=40, rotate=90, flip="v")
    assert_same(small, turned(photo.crop((160, 80, 480, 320)), 90, "v").resize((40, 53), LANCZOS), mean=8)


def test_a_stretched_jpeg_is_sharp_in_both_directions(make):
    """Decoded at a fraction of its size, the side that is hardly shrunk would be too short."""
    made = make(photos.a_jpeg(1600, 400, quality=95), (1600, 400), width=40, height=400, fit=Fit.FILL)
    assert_same(made, photos.photo(1600, 400).resize((40, 400), LANCZOS), mean=2.5)


def test_a_thin_picture_keeps_a_pixel(make):
    assert make(png(Image.new("RGB", (600, 2))), (600, 2), width=100).size == (100, 1)


def test_a_contained_picture_is_in_the_middle_of_its_background(make):
    made = make(a_png(), width=200, height=200, fit=Fit.CONTAIN, background=Color(10, 200, 30))
    assert_same(made.crop((0, 25, 200, 175)), make(a_png(), width=200), mean=0)
    for edge in ((0, 0, 200, 25), (0, 175, 200, 200)):
        assert made.crop(edge).getcolors() == [(200 * 25, (10, 200, 30))]


@pytest.mark.parametrize(
    ("kind", "background", "expected"),
    [
        (Format.PNG, None, (0, 0, 0, 0)),
        (Format.PNG, Color(255, 0, 0, 128), (255, 0, 0, 128)),
        (Format.JPEG, None, (255, 255, 255, 255)),
        (Format.JPEG, Color(0, 0, 0, 128), (127, 127, 127, 255)),
    ],
)
def test_the_padding_is_transparent_where_the_format_can_be(make, kind, background, expected):
    made = make(a_png(), width=200, height=200, fit=Fit.CONTAIN, background=background, format=kind)
    assert np.abs(levels(made, "RGBA")[5, 5] - expected).max() <= 1
    assert levels(made, "RGBA")[100, 100, 3] == 255


@pytest.mark.parametrize("gravity", Gravity)
@pytest.mark.parametrize("rotate", [0, 90])
def test_the_crop_keeps_what_draws_the_eye(make, photo, gravity, rotate):
    """A colourful square on the right of a plain picture, which is below in the picture that is turned."""
    plain = Image.new("RGB", (WIDTH, HEIGHT), (90, 100, 110))
    plain.paste(photo.crop((200, 100, 300, 200)), (480, 200))
    box = (60, 100) if rotate else (100, 60)
    made = make(png(plain), width=box[0], height=box[0], fit=Fit.COVER, focus=gravity, rotate=rotate)
    whole = np.abs(levels(plain) - (90, 100, 110)).sum() / (WIDTH / box[0] if not rotate else HEIGHT / box[0]) ** 2
    kept = np.abs(levels(made) - (90, 100, 110)).sum()
    assert kept / whole >= 0.5


# --- effects ------------------------------------------------------------------------------------------------------


def test_gray_is_the_luminance_of_light(make, photo):
    values = levels(photo) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    gray = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    expected = Image.fromarray(np.rint(gray).astype(np.uint8))
    assert_same(make(a_png(), gray=True), expected, mean=0.6, most=2)


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP, Format.JPEG])
@pytest.mark.parametrize("alpha", [True, False])
def test_gray_has_no_colour_in_any_format(make, kind, alpha):
    made = make(photos.a_png(WIDTH, HEIGHT, alpha=alpha), width=200, gray=True, format=kind)
    colors = levels(made)
    assert np.abs(colors - colors.mean(axis=2, keepdims=True)).max() <= 2


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.5, 100])
def test_blur_is_a_gaussian_of_this_deviation(make, photo, sigma):
    blurred = ndimage.gaussian_filter(levels(photo), (sigma, sigma, 0), mode="nearest")
    assert_same(make(a_png(), blur=sigma), Image.fromarray(np.rint(blurred).astype(np.uint8)), mean=0.8, most=4)


def test_blur_is_in_pixels_of_the_result(make, photo):
    small = levels(photo.resize((150, 112), LANCZOS))
    blurred = Image.fromarray(np.rint(ndimage.gaussian_filter(small, (3, 3, 0), mode="nearest")).astype(np.uint8))
    assert_same(make(a_png(), width=150, blur=3), blurred, mean=0.6)


@pytest.mark.parametrize("amount", [0.1, 1, 10])
def test_sharpen_adds_the_difference_to_the_blurred_picture(make, photo, amount):
    values = levels(photo)
    sharp = values + amount * (values - ndimage.gaussian_filter(values, (1, 1, 0), mode="nearest"))
    expected = Image.fromarray(np.rint(np.clip(sharp, 0, 255)).astype(np.uint8))
    assert_same(make(a_png(), sharpen=amount), expected, mean=0.1 + 0.1 * amount)


def test_invisible_colours_do_not_come_out_of_a_blur_or_a_size(make):
    """Red where it is transparent, green where it is not."""
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[:, : WIDTH // 2] = (255, 0, 0, 0)
    pixels[:, WIDTH // 2 :] = (0, 255, 0, 255)
    for fields in ({"blur": 10}, {"width": 77}):
        made = levels(make(png(Image.fromarray(pixels)), **fields), "RGBA")
        visible = made[..., 3] > 8
        assert made[visible][:, 0].max() <= 2
        assert made[visible][:, 1].min() >= 250


@pytest.mark.parametrize("background", [None, Color(255, 0, 0), Color(0, 0, 255, 128)])
@pytest.mark.parametrize("kind", [Format.PNG, Format.JPEG])
def test_transparency_is_on_its_background(make, photo, background, kind):
    """Porter and Duff's "over"; JPEG puts the rest on white."""
    over = np.dstack([levels(photo), levels(photos.cut_out(photo), "RGBA")[..., 3:]]) / 255
    if background is not None:
        over = _composite(over, np.broadcast_to(np.array(background) / 255, over.shape))
    if kind is Format.JPEG:
        over = _composite(over, np.ones_like(over))
    expected = Image.fromarray(np.rint(over * 255).astype(np.uint8), "RGBA")
    made = make(png(photos.cut_out(photo)), background=background, format=kind)
    assert ("A" in made.getbands()) == (kind is Format.PNG and (background is None or background.alpha < 255))
    visible = expected.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0)
    black = Image.new("RGBA", expected.size, (0, 0, 0, 0))
    ours, theirs = (Image.composite(each.convert("RGBA"), black, visible) for each in (made, expected))
    assert_same(ours, theirs, mean=1.5, most=60 if kind is Format.JPEG else 2)


def _composite(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    alpha, beneath = over[..., 3:], under[..., 3:] * (1 - over[..., 3:])
    total = alpha + beneath
    colors = (over[..., :3] * alpha + under[..., :3] * beneath) / np.maximum(total, 1e-9)
    return np.dstack([colors, total])


# --- sources and formats ------------------------------------------------------------------------------------------

SOURCES = {
    "png with a palette": lambda: photos.a_png(WIDTH, HEIGHT, palette=True),
    "png of 16 bits": lambda: photos.a_png16(WIDTH, HEIGHT),
    "gray jpeg": lambda: photos.a_gray_jpeg(WIDTH, HEIGHT),
    "cmyk jpeg": lambda: photos.a_cmyk_jpeg(WIDTH, HEIGHT),
    "display p3 jpeg": lambda: photos.a_display_p3_jpeg(WIDTH, HEIGHT),
    "rotated webp": lambda: photos.a_webp(WIDTH, HEIGHT, orientation=6),
    "rotated avif": lambda: photos.an_avif(WIDTH, HEIGHT, orientation=6),
    "rotated heic": lambda: photos.a_heic(WIDTH, HEIGHT, orientation=6),
    "display p3 heic": lambda: photos.a_heic(WIDTH, HEIGHT, display_p3=True),
    "animated gif": lambda: photos.a_gif(WIDTH, HEIGHT, animated=True),
    "animated webp": lambda: photos.a_webp(WIDTH, HEIGHT, animated=True),
    "animated avif": lambda: photos.an_avif(WIDTH, HEIGHT, animated=True),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_source_is_cut_and_turned_in_srgb(make, photo, source):
    """Animations by their first frame."""
    expected = {"gray jpeg": lambda: photo.convert("L"), "cmyk jpeg": cmyk_by_littlecms}.get(source, lambda: photo)()
    made = make(SOURCES[source](), rect=Rect(60, 30, 500, 400), rotate=90, width=160)
    assert_same(made, smaller(expected), mean=7 if source in ("animated gif", "png with a palette") else 3.5)
    assert shift_between(made, smaller(expected)) <= 0.1
    assert "icc_profile" not in made.info


def test_a_transparent_source_is_cut_and_turned(make, photo):
    made = make(png(photos.cut_out(photo)), rect=Rect(60, 30, 500, 400), rotate=90, width=160)
    assert_same(made.getchannel("A"), smaller(photos.cut_out(photo).getchannel("A")), mean=1)
    opaque = made.getchannel("A").point(lambda alpha: 255 if alpha > 64 else 0)
    black = Image.new("RGB", made.size)
    ours, theirs = (Image.composite(each.convert("RGB"), black, opaque) for each in (made, smaller(photo)))
    assert_same(ours, theirs, mean=2)


def smaller(picture: Image.Image) -> Image.Image:
    return turned(picture.crop((60, 30, 560, 430)), 90, "").resize((160, 200), LANCZOS)


def cmyk_by_littlecms() -> Image.Image:
    inks = photos.opened(photos.a_cmyk_jpeg(WIDTH, HEIGHT))
    profile = io.BytesIO(inks.info["icc_profile"])
    return ImageCms.profileToProfile(inks, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP, Format.JPEG, Format.PNG])
def test_every_format_shows_the_picture_and_has_nothing_else_in_its_bytes(make, tmp_path, kind):
    metadata = {"exif": photos.CAMERA, "gps": True, "comment": b"remark", "icc_profile": P3_PROFILE}
    file = photos.a_jpeg(WIDTH, HEIGHT, **metadata)
    made = make(file, width=300, format=kind, quality=80)
    assert made.format == kind.upper()
    assert photos.likeness(made, make(file, width=300)) >= 0.93
    content = (tmp_path / "target").read_bytes()
    for word in (b"Exif", b"remark", b"Canon", b"ICC_PROFILE", b"ICCP", b"iCCP", b"http"):
        assert word not in content


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP])
def test_lossy_formats_keep_transparency(make, kind):
    made = make(photos.a_png(WIDTH, HEIGHT, alpha=True), width=300, format=kind, quality=80)
    expected = photos.cut_out(photos.photo(WIDTH, HEIGHT)).getchannel("A").resize((300, 225), LANCZOS)
    assert_same(made.getchannel("A"), expected, mean=1.5)


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP, Format.PNG])
def test_opacity_is_exact_where_the_format_has_it(make, kind):
    picture = Image.new("RGBA", (200, 100), (255, 0, 0, 128))
    picture.paste((0, 0, 255, 255), (100, 0, 200, 100))
    made = make(png(picture), (200, 100), format=kind, quality=90).convert("RGBA")
    assert abs(made.getpixel((20, 50))[3] - 128) <= 2
    assert made.getpixel((180, 50))[3] == 255


@pytest.mark.parametrize("kind", [Format.AVIF, Format.WEBP, Format.JPEG])
def test_a_higher_quality_has_more_bytes_and_is_nearer(make, tmp_path, kind):
    sizes, differences = [], []
    for quality in (20, 60, 95):
        made = make(a_png(), width=300, format=kind, quality=quality)
        sizes.append((tmp_path / "target").stat().st_size)
        differences.append(photos.difference(made, photos.photo(WIDTH, HEIGHT).resize((300, 225), LANCZOS)))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2
    assert differences == sorted(differences, reverse=True)


@pytest.mark.parametrize("rect", [None, Rect(101, 63, 701, 603)])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_a_kept_rendition_gives_the_same_picture(make, kind, rect):
    """`spec` speaks of the original, whose sides are given, and the source is half as large."""
    fields = {"width": 100, "height": 100, "fit": Fit.COVER, "rotate": 90, "focus": Point(0.3, 0.3), "rect": rect}
    small = saved(
        photos.photo(1200, 900).resize((600, 450), LANCZOS), kind, **({} if kind == "PNG" else {"quality": 82})
    )
    from_rendition, from_original = (make(file, (1200, 900), **fields) for file in (small, photos.a_jpeg(quality=95)))
    assert_same(from_rendition, from_original, mean=5 if rect else 2.5)
    assert shift_between(from_rendition, from_original) <= 0.3


def test_a_picture_for_which_there_is_not_enough_memory_is_refused_by_its_header(make):
    limits = Limits(memory=300 << 20)
    file = photos.an_interlaced_png(4000, 3000)
    with pytest.raises(TooMuchMemory):
        make(file, (4000, 3000), limits, width=4000, format=Format.AVIF)
    assert make(photos.a_jpeg(), (1200, 900), limits, width=400).size == (400, 300)
