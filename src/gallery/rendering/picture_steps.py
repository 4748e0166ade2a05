"""The steps from the shrunk pixels of an original to a picture on demand; each returns a picture."""

from gallery.rendering.picture_spec import Color, Gravity, Layout, PictureSpec, crop_corner
from gallery.rendering.probe import Format
from gallery.rendering.vips import Picture

TRANSPARENT = Color(0, 0, 0, 0)
WHITE = Color(255, 255, 255)
SHARPEN_SIGMA = 1.0  # px, of the unsharp mask
SHRUNK_SIGMA = 16.0  # px, of a very wide blur in the picture that is shrunk for it
MIN_INTEGER_SIGMA = 2.0  # px: from here the kernel in whole numbers, which is ten times as fast, is exact enough
MIN_AMPLITUDE = 0.02  # where the kernel ends; at libvips' 0.2 it would end at 1.8 standard deviations


def apply(picture: Picture, spec: PictureSpec, plan: Layout) -> Picture:
    """`picture` is in 8-bit sRGB and has the size of the plan, before it is turned."""
    picture = _cut(_turn(picture, spec), spec, plan)
    if spec.blur is not None:
        picture = _blur(picture, spec.blur)
    if spec.sharpen is not None:
        picture = _sharpen(picture.copy_memory(), spec.sharpen)  # is read twice
    picture = _on_background(_padded(picture, spec, plan), spec)
    if spec.gray or spec.bitonal:
        picture = _gray(picture)
    return _black_and_white(picture) if spec.bitonal else picture


def _turn(picture: Picture, spec: PictureSpec) -> Picture:
    if spec.rotate:
        picture = getattr(picture, f"rot{spec.rotate}")()
    if "h" in spec.flip:
        picture = picture.fliphor()
    return picture.flipver() if "v" in spec.flip else picture


def _cut(picture: Picture, spec: PictureSpec, plan: Layout) -> Picture:
    if plan.crop is None:
        return picture
    if isinstance(spec.focus, Gravity):
        return picture.copy_memory().smartcrop(*plan.crop, interesting=str(spec.focus))
    return picture.crop(*crop_corner(plan.size, plan.crop, spec.focus), *plan.crop)


def _blur(picture: Picture, sigma: float) -> Picture:
    """A Gaussian blur of this standard deviation; transparent pixels do not colour their neighbours."""
    if not picture.hasalpha():
        return _eight_bits(_gaussian(picture, sigma))
    return _eight_bits(_gaussian(_eight_bits(picture.premultiply()), sigma).unpremultiply())


def _gaussian(picture: Picture, sigma: float) -> Picture:
    """A very wide blur is made on a smaller picture, in a third of the time; it differs by four values at most."""
    if sigma >= 4 * SHRUNK_SIGMA:
        factor = sigma / SHRUNK_SIGMA
        wide, high = (max(1, round(side / factor)) for side in (picture.width, picture.height))
        small = picture.resize(wide / picture.width, vscale=high / picture.height)
        return _gaussian(small, SHRUNK_SIGMA).resize(picture.width / wide, vscale=picture.height / high)
    precision = "integer" if sigma >= MIN_INTEGER_SIGMA else "float"
    return picture.gaussblur(sigma, min_ampl=MIN_AMPLITUDE, precision=precision)


def _sharpen(picture: Picture, amount: float) -> Picture:
    """An unsharp mask: the difference to the blurred picture, times `amount`, is added. Alpha stays."""
    colors = picture[: picture.bands - 1] if picture.hasalpha() else picture
    sharp = _eight_bits(colors + (colors - _gaussian(colors, SHARPEN_SIGMA)) * amount)
    return sharp.bandjoin(picture[picture.bands - 1]) if picture.hasalpha() else sharp


def _padded(picture: Picture, spec: PictureSpec, plan: Layout) -> Picture:
    """In the middle of its canvas, on the background if that is opaque, else on transparency."""
    if plan.canvas is None:
        return picture
    opaque = spec.background is not None and spec.background.alpha == 255
    color = spec.background if spec.background is not None and opaque else TRANSPARENT
    if not opaque and not picture.hasalpha():
        picture = picture.addalpha()
    left, top = (plan.canvas[0] - picture.width) // 2, (plan.canvas[1] - picture.height) // 2
    return picture.embed(left, top, *plan.canvas, extend="background", background=list(color)[: picture.bands])


def _on_background(picture: Picture, spec: PictureSpec) -> Picture:
    """Transparency on the background, and on white where the format has none."""
    if not picture.hasalpha():
        return picture
    if spec.background is not None:
        picture = _over(picture, spec.background)
    return picture.flatten(background=list(WHITE[:3])) if spec.format is Format.JPEG and picture.hasalpha() else picture


def _over(picture: Picture, color: Color) -> Picture:
    if color.alpha == 255:
        return picture.flatten(background=list(color[:3]))
    base = picture.new_from_image(list(color)).copy(interpretation="srgb").cast("uchar")
    return _eight_bits(base.composite2(picture, "over"))


def _gray(picture: Picture) -> Picture:
    """The luminance of the linear light, as gray."""
    return picture.colourspace("b-w")


def _black_and_white(gray: Picture) -> Picture:
    """Of a gray picture: white from the middle of the scale on. Alpha stays."""
    light = (gray[0] >= 128).copy(interpretation="b-w")
    return light.bandjoin(gray[1]) if gray.hasalpha() else light


def _eight_bits(picture: Picture) -> Picture:
    return picture.rint().cast("uchar").copy(interpretation="srgb")
