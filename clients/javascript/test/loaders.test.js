// The URLs that the loaders make, as texts; tests/clients/test_javascript_loaders.py asks a Gallery for them.
import assert from "node:assert/strict";
import { test } from "node:test";
import astro, { galleryService } from "gallery-client/loaders/astro";
import { galleryLoader } from "gallery-client/loaders/next";
import nuxt, { galleryProvider, getImage } from "gallery-client/loaders/nuxt";
import { extract, generate, transform } from "gallery-client/loaders/unpic";

const ID = "01990000-0000-7000-8000-000000000000";
const HOST = "https://img.example.org";
const IMAGE = `${HOST}/api/v1/images/${ID}`;

test("next: an id, with the address of Gallery", () => {
  const loader = galleryLoader({ url: `${HOST}/` });
  assert.equal(loader({ src: ID, width: 640 }), `${IMAGE}/picture?w=640`);
  assert.equal(loader({ src: ID, width: 640, quality: 60 }), `${IMAGE}/picture?q=60&w=640`);
});

test("next: URLs of the original and of renditions stay on their own host", () => {
  const loader = galleryLoader({ url: "https://other.example.org" });
  for (const path of ["original", "webp-960.webp?v=0a1b2c3d", "960.jpeg"])
    assert.equal(loader({ src: `${IMAGE}/${path}`, width: 320 }), `${IMAGE}/picture?w=320`);
  assert.equal(
    galleryLoader()({ src: `/api/v1/images/${ID}/original`, width: 320 }),
    `/api/v1/images/${ID}/picture?w=320`,
  );
});

test("next: a picture's URL keeps its version and what else it asks for", () => {
  const loader = galleryLoader();
  const src = `${IMAGE}/picture?w=800&h=600&fit=cover&focus=0.5%2C0.25&dpr=2&v=0a1b2c3d`;
  assert.equal(loader({ src, width: 400 }), `${IMAGE}/picture?fit=cover&focus=0.5,0.25&h=300&v=0a1b2c3d&w=400`);
});

test("next: files that are not in Gallery, and signed URLs, stay as they are", () => {
  const loader = galleryLoader({ url: HOST });
  const others = [
    "/logo.svg",
    "https://cdn.example.org/a.jpg",
    `${IMAGE}/picture?w=5&kid=k&exp=1&sig=s`,
    `${IMAGE}/picture?preset=card`,
  ];
  for (const src of others) assert.equal(loader({ src, width: 320 }), src);
});

test("next: anonymous visitors get presets", () => {
  assert.equal(
    galleryLoader({ url: HOST, preset: "card" })({ src: ID, width: 640, quality: 5 }),
    `${IMAGE}/picture?preset=card`,
  );
  const loader = galleryLoader({ url: HOST, preset: { large: 1200, small: 400 } });
  const asked = [100, 400, 401, 801, 1201, 2400, 9999].map((width) => loader({ src: ID, width }).split("?")[1]);
  const want = [
    "preset=small",
    "preset=small",
    "dpr=2&preset=small",
    "preset=large",
    "dpr=2&preset=large",
    "dpr=2&preset=large",
    "dpr=3&preset=large",
  ];
  assert.deepEqual(asked, want);
});

test("next: a signed link in place of the URL", () => {
  const links = new Map([["q=60&w=640", "https://signed"]]);
  const loader = galleryLoader({ url: HOST, sign: ({ image, query }) => image === ID && links.get(query) });
  assert.equal(loader({ src: `${IMAGE}/picture?v=0a1b2c3d`, width: 640, quality: 60 }), "https://signed");
});

test("no side is larger than Gallery makes it", () => {
  assert.equal(transform(ID, { width: 16384, height: 8192 }), `/api/v1/images/${ID}/picture?fit=cover&h=4096&w=8192`);
  assert.equal(transform(ID, { width: 0.2, height: 100 }), `/api/v1/images/${ID}/picture?fit=cover&h=100&w=1`);
});

test("nuxt: modifiers", () => {
  const modifiers = {
    width: 400,
    height: 300,
    quality: "70",
    format: "jpg",
    background: "#ffffff",
    gray: true,
    blur: undefined,
  };
  const want = `${IMAGE}/picture?bg=ffffff&fit=cover&format=jpeg&gray=true&h=300&q=70&w=400`;
  assert.equal(getImage(`/${ID}`, { modifiers, url: HOST }).url, want);
  assert.equal(nuxt().getImage(`/${ID}`, { modifiers, url: HOST }).url, want);
  assert.equal(nuxt().getImage(`/${ID}`).url, `/api/v1/images/${ID}/picture`);
  assert.equal(nuxt(), nuxt());
  assert.equal(
    nuxt().getImage(`${IMAGE}/original`, { modifiers: { width: 300, height: 300, fit: "contain" } }).url,
    `${IMAGE}/picture?fit=contain&h=300&w=300`,
  );
});

test("nuxt: a provider of one's own", () => {
  const provider = galleryProvider({ sign: ({ url }) => `${url}&sig=1` })();
  assert.equal(provider.getImage(`/${ID}`, { url: HOST, modifiers: { width: 9 } }).url, `${IMAGE}/picture?w=9&sig=1`);
});

test("unpic: transform, extract, generate", () => {
  const src = `${IMAGE}/picture?w=800&h=600&fit=cover&q=50&v=0a1b2c3d`;
  assert.equal(transform(src, { width: 400 }), `${IMAGE}/picture?fit=cover&h=300&q=50&v=0a1b2c3d&w=400`);
  const found = extract(new URL(src));
  assert.deepEqual(found, {
    src: `${IMAGE}/picture?v=0a1b2c3d`,
    operations: { fit: "cover", width: 800, height: 600, quality: 50 },
    options: { url: HOST },
  });
  assert.equal(
    generate(found.src, found.operations, found.options),
    `${IMAGE}/picture?fit=cover&h=600&q=50&v=0a1b2c3d&w=800`,
  );
  assert.equal(generate(src, { width: 10 }), `${IMAGE}/picture?v=0a1b2c3d&w=10`);
  assert.equal(extract("https://cdn.example.org/a.jpg"), null);
  assert.equal(transform("https://cdn.example.org/a.jpg", { width: 4 }), "https://cdn.example.org/a.jpg");
});

test("astro: URL, srcset and attributes", async () => {
  const config = { service: { config: { url: HOST } } };
  const image = {
    src: `/${ID}`,
    alt: "A lake",
    width: 400,
    height: 300,
    widths: [200, 400],
    quality: "mid",
    position: "50% 20%",
    class: "wide",
  };
  for (const given of [image, { ...image, fit: "cover" }])
    assert.equal(astro.getURL(given, config), `${IMAGE}/picture?fit=cover&focus=0.5,0.2&h=300&q=50&w=400`);
  assert.equal(
    astro.getURL({ ...image, fit: "contain", quality: 81 }, config),
    `${IMAGE}/picture?fit=inside&h=300&q=81&w=400`,
  );
  assert.equal(astro.getURL({ ...image, src: { src: "/_astro/logo.png" } }, config), "/_astro/logo.png");
  const [small] = astro.getSrcSet(image);
  assert.equal(small.descriptor, "200w");
  assert.equal(astro.getURL(small.transform, config), `${IMAGE}/picture?fit=cover&focus=0.5,0.2&h=150&q=50&w=200`);
  const dense = astro.getSrcSet({ ...image, widths: undefined, densities: [1.5, "2x"] });
  assert.deepEqual(
    dense.map(({ transform, descriptor }) => [transform.width, transform.height, descriptor]),
    [
      [600, 450, "1.5x"],
      [800, 600, "2x"],
    ],
  );
  assert.deepEqual(astro.getHTMLAttributes(image), {
    loading: "lazy",
    decoding: "async",
    alt: "A lake",
    width: 400,
    height: 300,
    class: "wide",
  });
});

test("astro: a service that signs", async () => {
  const service = galleryService({ url: HOST, sign: async ({ image, query }) => `https://signed/${image}?${query}` });
  assert.equal(await service.getURL({ src: ID, width: 40 }), `https://signed/${ID}?w=40`);
});

test("an own URL without a host gets the address of Gallery", () => {
  const path = `/api/v1/images/${ID}/original`;
  assert.equal(galleryLoader({ url: HOST })({ src: path, width: 320 }), `${IMAGE}/picture?w=320`);
  assert.equal(generate(ID, { width: 320 }, { url: HOST }), `${IMAGE}/picture?w=320`);
});

test("values of CSS become those of Gallery", () => {
  const url = (wanted) => astro.getURL({ src: ID, width: 40, height: 30, ...wanted }).split("?")[1];
  const focus = (position) => url({ fit: "cover", position });
  assert.equal(focus("left top"), "fit=cover&focus=0,0&h=30&w=40");
  assert.equal(focus("bottom right"), "fit=cover&focus=1,1&h=30&w=40");
  assert.equal(focus("center 25%"), "fit=cover&focus=0.5,0.25&h=30&w=40");
  assert.equal(focus("top"), "fit=cover&focus=top&h=30&w=40");
  for (const other of ["10px 20px", "right 3em bottom 5em", ""]) assert.equal(focus(other), "fit=cover&h=30&w=40");
  assert.equal(url({ position: "top" }), "fit=cover&focus=top&h=30&w=40", "with both sides, it is cut");
  assert.equal(url({ fit: "contain", background: "#fA0" }), "bg=ffAA00&fit=inside&h=30&w=40");
  assert.equal(getImage(ID, { modifiers: { width: "100%", format: "a b" } }).url.split("?")[1], "format=a%20b");
});

test("a file of the site keeps its sides", () => {
  const src = { src: "/_astro/hill.hash.jpg", width: 800, height: 600 };
  const { width, height } = astro.getHTMLAttributes({ src, alt: "A hill" });
  assert.deepEqual([width, height], [800, 600]);
});
