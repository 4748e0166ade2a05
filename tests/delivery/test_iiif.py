"""The IIIF Image API 3.0, level 2: the checks of the community's validator, and what it does not check."""

import io

import numpy as np
import pytest
from PIL import Image

from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import upload_image
from gallery.access.model import Caller, Owner, Scope
from gallery.delivery.iiif import enabled_formats, image_information
from gallery.rendering.probe import Format
from gallery.wiring import open_processing

OWNER = Caller(owner=Owner("maya"), scopes=frozenset({Scope.READ, Scope.WRITE}))
SQUARES, SIDE = 10, 100  # the validator's picture: ten by ten squares of 100 pixels, each of another colour
COLORS = np.random.default_rng(7).integers(0, 256, (SQUARES, SQUARES, 3), dtype=np.uint8)


def squares() -> bytes:
    pixels = np.repeat(np.repeat(COLORS, SIDE, axis=0), SIDE, axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
async def iiif(environment):
    """A client, and the addresses of the services of a public and a private image."""
    access = {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "CORS_ORIGIN": "https://viewer.example.org"}
    async with (
        running_application(environment, **access) as (gallery, client),
        open_processing(gallery) as processing,
    ):
        addresses = []
        for visibility in ("public", "private"):
            image = await upload_image(gallery, squares() + visibility.encode(), caller=OWNER, visibility=visibility)
            await processing.process(image.id)
            addresses.append(f"/iiif/3/{image.id}")
        yield client, *addresses


async def picture(client, url):
    response = await client.get(url)
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def color_of(picture: Image.Image, box=None) -> np.ndarray:
    pixels = np.asarray((picture.crop(box) if box else picture).convert("RGB"), dtype=int)
    return np.median(pixels.reshape(-1, 3), axis=0)


def close(color: np.ndarray, column: int, row: int) -> bool:
    return bool(np.abs(color - COLORS[row, column].astype(int)).max() < 8)


async def test_the_information_says_what_can_be_asked(iiif):
    client, public, _ = iiif
    response = await client.get(f"{public}/info.json")
    document = response.json()
    assert document["@context"] == "http://iiif.io/api/image/3/context.json"
    assert document["id"] == str(client.base_url.join(public))
    assert (document["type"], document["protocol"]) == ("ImageService3", "http://iiif.io/api/image")
    assert (document["profile"], document["width"], document["height"]) == ("level2", 1000, 1000)
    assert document["tiles"] == [{"width": 512, "scaleFactors": [1, 2]}]
    assert {"width": 320, "height": 320} in document["sizes"]
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["content-type"] == "application/json"
    as_json_ld = await client.get(f"{public}/info.json", headers={"Accept": "application/ld+json"})
    assert as_json_ld.headers["content-type"].startswith("application/ld+json")


@pytest.mark.parametrize(
    ("enabled", "level", "preferred", "extra"),
    [
        ("jpeg", "level1", ["jpg"], []),
        ("webp", "level1", ["webp", "jpg"], ["webp"]),
        ("jpeg,png", "level2", ["jpg"], []),
        ("png,avif", "level2", ["jpg"], ["avif"]),
        ("avif,webp,jpeg,png", "level2", ["webp", "jpg"], ["webp", "avif"]),
    ],
)
async def test_only_enabled_formats_are_named_and_the_level_fits_them(gallery, enabled, level, preferred, extra):
    image = await upload_image(gallery, squares())
    formats = enabled_formats([Format(name) for name in enabled.split(",")])
    document = image_information(image, "https://img.example.org/iiif/3/1", formats)
    assert document["profile"] == level
    assert (document["preferredFormats"], document["extraFormats"]) == (preferred, extra)
    assert ("rotationBy90s" in document["extraFeatures"]) == (level == "level1")


async def test_without_png_the_service_is_of_level_1(environment):
    async with (
        running_application(environment, GALLERY_PICTURES__FORMATS="webp") as (gallery, client),
        open_processing(gallery) as processing,
    ):
        image = await upload_image(gallery, squares())
        await processing.process(image.id)
        region = f"/iiif/3/{image.id}/full/max/0/default"
        tile = await client.get(f"{region}.jpg")
        assert tile.status_code == 200
        assert "level1.json" in tile.headers["link"]
        assert (await client.get(f"{region}.png")).status_code == 400


async def test_the_address_leads_to_the_information(iiif):
    client, public, _ = iiif
    response = await client.get(public)
    assert response.status_code == 303
    assert response.headers["location"].endswith(f"{public}/info.json")
    assert (await client.get(public.replace("-", "%2D") + "/info.json")).status_code == 200


async def test_regions(iiif):
    client, public, _ = iiif
    for region, size, square in (
        ("full", (1000, 1000), None),
        ("square", (1000, 1000), None),
        ("313,513,76,76", (76, 76), (3, 5)),
        ("pct:31,51,9,9", (90, 90), (3, 5)),
        ("912,912,500,500", (88, 88), (9, 9)),
        ("pct:95.5,95.5,100,100", (45, 45), (9, 9)),
    ):
        found = await picture(client, f"{public}/{region}/max/0/default.png")
        assert found.size == size, region
        assert square is None or close(color_of(found), *square), region


async def test_sizes(iiif):
    client, public, _ = iiif
    for size, expected in (
        ("max", (1000, 1000)),
        ("^max", (1000, 1000)),
        ("350,", (350, 350)),
        ("^350,", (350, 350)),
        (",351", (351, 351)),
        ("pct:12.5", (125, 125)),
        ("400,200", (400, 200)),
        ("!400,200", (200, 200)),
        ("^!400,200", (200, 200)),
    ):
        found = await picture(client, f"{public}/full/{size}/0/default.png")
        assert found.size == expected, size
    assert (await picture(client, f"{public}/100,200,300,100/150,/0/default.jpg")).size == (150, 50)
    assert (await picture(client, f"{public}/0,0,300,100/,33/0/default.jpg")).size == (99, 33)


async def test_rotation_and_mirroring(iiif):
    """The left upper square, and where it goes."""
    client, public, _ = iiif
    corners = {"top left": (12, 12), "top right": (912, 12), "bottom left": (12, 912), "bottom right": (912, 912)}
    for rotation, corner in (
        ("0", "top left"),
        ("90", "top right"),
        ("180", "bottom right"),
        ("270", "bottom left"),
        ("360", "top left"),
        ("!0", "top right"),
        ("!90", "bottom right"),
        ("!180", "bottom left"),
        ("!270", "top left"),
    ):
        found = await picture(client, f"{public}/full/max/{rotation}/default.png")
        x, y = corners[corner]
        assert close(color_of(found, (x, y, x + 76, y + 76)), 0, 0), rotation
    turned = await picture(client, f"{public}/0,0,400,200/100,/90/default.png")
    assert turned.size == (50, 100)


async def test_qualities_and_formats(iiif):
    client, public, _ = iiif
    for quality in ("default", "color"):
        assert (await picture(client, f"{public}/full/100,/0/{quality}.png")).mode == "RGB"
    gray = await picture(client, f"{public}/full/100,/0/gray.png")
    assert gray.mode == "L"
    bitonal = await picture(client, f"{public}/full/max/0/bitonal.png")
    assert {color for _, color in bitonal.convert("L").getcolors()} == {0, 255}
    for extension, kind in (
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("webp", "image/webp"),
        ("avif", "image/avif"),
    ):
        response = await client.get(f"{public}/full/100,/0/default.{extension}")
        assert response.headers["content-type"] == kind
    assert 'rel="canonical"' in response.headers["link"]


REFUSED = (
    ("full/max/0/default.bmp", 400),
    ("full/max/0/native.jpg", 400),
    ("full/full/0/default.jpg", 400),
    ("full/,/0/default.jpg", 400),
    ("full/0,/0/default.jpg", 400),
    ("full/!100,/0/default.jpg", 400),
    ("full/1100,/0/default.jpg", 400),
    ("full/,1100/0/default.jpg", 400),
    ("full/1100,1100/0/default.jpg", 400),
    ("full/pct:200/0/default.jpg", 400),
    ("full/!2000,3000/0/default.jpg", 400),
    ("1000,0,10,10/max/0/default.jpg", 400),
    ("0,0,0,10/max/0/default.jpg", 400),
    ("0,0,10/max/0/default.jpg", 400),
    ("pct:0,0,a,10/max/0/default.jpg", 400),
    ("full/max/361/default.jpg", 400),
    ("full/max/-90/default.jpg", 400),
    ("full/max/0/default", 400),
    ("full/max/45/default.jpg", 501),
    ("full/^1100,/0/default.jpg", 501),
    ("full/max/0/default.tif", 501),
)


async def test_what_the_standard_refuses_or_leaves_open(iiif):
    client, public, _ = iiif
    for path, status in REFUSED:
        response = await client.get(f"{public}/{path}")
        assert response.status_code == status, path
        assert response.json()["code"] == ("iiif_request_invalid" if status == 400 else "iiif_not_supported")


async def test_only_public_images_are_open_to_all(iiif):
    client, public, private = iiif
    assert (await client.get(f"{private}/info.json")).status_code == 401
    assert (await client.get(f"{private}/full/max/0/default.jpg")).status_code == 401
    mine = await client.get(f"{private}/info.json", headers=bearer_headers(make_token("maya")))
    assert mine.status_code == 200
    assert "access-control-allow-origin" not in mine.headers
    unknown = await client.get("/iiif/3/01a226d0-0000-7000-8000-000000000000/info.json")
    assert unknown.status_code in (401, 404)
    viewer = await client.get(f"{public}/info.json", headers={"Origin": "https://viewer.example.org"})
    assert viewer.headers.get_list("access-control-allow-origin") == ["https://viewer.example.org"]
    other = await client.get(f"{public}/full/50,/0/default.jpg", headers={"Origin": "https://other.example.org"})
    assert other.headers.get_list("access-control-allow-origin") == ["*"]
