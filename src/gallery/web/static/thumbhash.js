/**
 * Placeholders of about 25 bytes, decoded to at most 32 × 32 pixels: a discrete cosine transform of the luminance
 * (L), two colour differences (P: yellow–blue, Q: red–green) and, if the picture has one, the transparency (A).
 * Format: https://evanw.github.io/thumbhash/
 */

const SIDE = 32;

/**
 * @param {HTMLCanvasElement} canvas is given the placeholder's size and pixels
 * @param {string} base64
 */
export function paint(canvas, base64) {
  const { width, height, pixels } = decode(base64);
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
}

/**
 * @param {string} base64
 * @returns {{width: number, height: number, pixels: Uint8ClampedArray}} RGBA, row by row
 */
export function decode(base64) {
  const hash = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const { wide, transparent, l, p, q, a, ratio } = read(hash);
  const width = Math.round(ratio > 1 ? SIDE : SIDE * ratio);
  const height = Math.round(ratio > 1 ? SIDE / ratio : SIDE);
  const waves = Math.max(l.nx, l.ny, wide ? 7 : 5);
  const across = cosines(width, waves);
  const down = cosines(height, waves);
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 4) {
      const [lum, yellow, red] = [l, p, q].map((channel) => at(channel, across[x], down[y]));
      const blue = lum - (2 / 3) * yellow;
      const redness = (3 * lum - blue + red) / 2;
      pixels[i] = 255 * redness;
      pixels[i + 1] = 255 * (redness - red);
      pixels[i + 2] = 255 * blue;
      pixels[i + 3] = transparent ? 255 * at(a, across[x], down[y]) : 255;
    }
  }
  return { width, height, pixels };
}

/** The header has the means, the scales and the numbers of waves; the waves follow, four bits each. */
function read(hash) {
  const colours = hash[0] | (hash[1] << 8) | (hash[2] << 16);
  const shape = hash[3] | (hash[4] << 8);
  const transparent = Boolean(colours >> 23);
  const wide = Boolean(shape >> 15);
  const [longer, shorter] = [transparent ? 5 : 7, shape & 7];
  const [nx, ny] = wide ? [longer, shorter] : [shorter, longer];
  let next = transparent ? 12 : 10; // in half bytes
  const nibble = () => (hash[next >> 1] >> ((next++ & 1) << 2)) & 15;
  const channel = (mean, scale, nx, ny) => ({ mean, nx, ny, waves: series(nx, ny, scale, nibble) });
  const colourful = 1.25; // makes up for the loss by quantising
  return {
    wide,
    transparent,
    ratio: nx / ny,
    l: channel((colours & 63) / 63, ((colours >> 18) & 31) / 31, Math.max(3, nx), Math.max(3, ny)),
    p: channel(((colours >> 6) & 63) / 31.5 - 1, (((shape >> 3) & 63) / 63) * colourful, 3, 3),
    q: channel(((colours >> 12) & 63) / 31.5 - 1, (((shape >> 9) & 63) / 63) * colourful, 3, 3),
    a: transparent ? channel((hash[5] & 15) / 15, (hash[5] >> 4) / 15, 5, 5) : null,
  };
}

/** The waves of a channel: a triangle of them, without the mean at its corner. */
function series(nx, ny, scale, nibble) {
  const waves = [];
  for (let y = 0; y < ny; y++) {
    for (let x = y ? 0 : 1; x * ny < nx * (ny - y); x++) waves.push({ x, y, size: (nibble() / 7.5 - 1) * scale });
  }
  return waves;
}

function at({ mean, waves }, across, down) {
  return waves.reduce((sum, { x, y, size }) => sum + size * across[x] * down[y] * 2, mean);
}

function cosines(length, waves) {
  const wave = (i, n) => Math.cos((Math.PI / length) * (i + 0.5) * n);
  return Array.from({ length }, (_, i) => Array.from({ length: waves }, (_, n) => wave(i, n)));
}
