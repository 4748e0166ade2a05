// What is published: its size, its files, its exports.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));
const CORE_BYTES = 8000;

/** Bytes of a page's code, minified, and then compressed. */
async function sizeOf(code) {
  const stdin = { contents: code, resolveDir: FOLDER };
  const options = { bundle: true, minify: true, format: "esm", platform: "browser", write: false, logLevel: "error" };
  const { outputFiles } = await build({ stdin, ...options });
  const { contents } = outputFiles[0];
  return { minified: contents.length, compressed: gzipSync(contents, { level: 9 }).length };
}

it("is small in a page", async () => {
  const core = await sizeOf(
    'import { createGallery } from "./dist/index.js"; globalThis.g = createGallery({ url: "/" });',
  );
  console.log(`createGallery with all that it brings: ${core.compressed} bytes (${core.minified} before gzip -9)`);
  assert.ok(core.compressed <= CORE_BYTES, `${core.compressed} bytes`);
  const errors = await sizeOf('import { GalleryError } from "./dist/index.js"; console.log(GalleryError.name);');
  console.log(`GalleryError alone: ${errors.compressed} bytes`);
  assert.ok(errors.compressed < 1000, "the rest is left out");
});

it("publishes what its exports name, and nothing else", () => {
  const packed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: FOLDER,
    encoding: "utf8",
  });
  const [{ files }] = JSON.parse(packed);
  const names = files.map(({ path }) => path);
  const strange = names.filter((name) => !/^(dist\/[\w/-]+\.(js|d\.ts)|README\.md|LICENSE|package\.json)$/.test(name));
  assert.deepEqual(strange, []);
  const manifest = JSON.parse(readFileSync(join(FOLDER, "package.json"), "utf8"));
  for (const [name, { types, default: module }] of Object.entries(manifest.exports)) {
    assert.ok(names.includes(types.slice(2)) && names.includes(module.slice(2)), name);
    assert.ok(existsSync(join(FOLDER, module)));
  }
  assert.deepEqual([manifest.dependencies, manifest.sideEffects, manifest.type], [undefined, false, "module"]);
});

it("imports nothing that it does not bring, but for React", async () => {
  const stdin = {
    contents: 'export * from "./dist/index.js"; export { sign } from "./dist/server/index.js";',
    resolveDir: FOLDER,
  };
  const { metafile } = await build({ stdin, bundle: true, write: false, metafile: true, platform: "neutral" });
  const foreign = Object.keys(metafile.inputs).filter((path) => !/^(dist\/|<stdin>)/.test(path));
  assert.deepEqual(foreign, []);
});
