"""A page of another origin with 50 private pictures: one request for JSON, on the second visit none for pictures."""

from itertools import pairwise

import prometheus_client

import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import post
from gallery.wiring import open_processing
from http_sockets import serve_app

PICTURES = 50
MAYA = bearer_headers(make_token("maya"))
PAGE = b"""<!doctype html><title>Photos</title><body><script type="module">
  const [gallery, token] = location.hash.slice(1).split(",");
  const options = { headers: { Authorization: `Bearer ${token}` } };
  const answer = await fetch(`${gallery}/api/v1/images?limit=50&signed=true`, options);
  const images = await answer.json();
  for (const image of images) {
    const img = document.createElement("img");
    img.srcset = image.srcset.webp.replaceAll("/api/", `${gallery}/api/`);
    img.sizes = "100px";
    document.body.append(img);
  }
  const shown = [...document.images];
  await Promise.all(shown.map((img) => img.decode()));
  window.widths = shown.map((img) => img.naturalWidth);
</script>"""


async def app_page(scope, receive, send):
    """A web application of its own, on another origin than Gallery."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": PAGE})


def requests_so_far():
    """Requests for lists and for renditions that Gallery has answered."""
    name = "gallery_http_request_duration_seconds_count"
    samples = [s for family in prometheus_client.REGISTRY.collect() for s in family.samples if s.name == name]
    routes = ("/api/v1/images", "/api/v1/images/{image_id}/{file}")
    return [sum(s.value for s in samples if (s.labels["method"], s.labels["route"]) == ("GET", r)) for r in routes]


async def upload_pictures(gallery, client):
    async with open_processing(gallery) as processing:
        for number in range(PICTURES):
            image = await post(client, photos.a_jpeg(width=60, height=45, seed=number), headers=MAYA)
            await processing.process(image.json()["id"])


async def test_the_second_visit_of_a_private_page_takes_its_pictures_from_the_browsers_cache(environment, browser):
    async with serve_app(app_page) as app_url:
        closed = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "CORS_ORIGIN": app_url}
        closed |= {"GALLERY_RATE__ENABLED": "false", "GALLERY_ACCESS__LINK_WINDOW": "86400"}
        async with running_application(environment, **closed) as (gallery, client):
            await upload_pictures(gallery, client)
            gallery_url = str(client.base_url).rstrip("/")
            context = await browser.new_context()
            try:
                answered = [requests_so_far()]
                for _ in range(2):
                    page = await context.new_page()
                    await page.goto(f"{app_url}/#{gallery_url},{make_token('maya')}")
                    await page.wait_for_function("window.widths")
                    assert await page.evaluate("window.widths.filter((width) => width > 0).length") == PICTURES
                    await page.close()
                    answered.append(requests_so_far())
            finally:
                await context.close()
            visits = [[after - before for before, after in zip(*pair, strict=True)] for pair in pairwise(answered)]
            assert visits == [[1, PICTURES], [1, 0]], "of lists and of pictures"
