/**
 * ThumbHash, by Evan Wallace, is a picture in some 25 bytes: a discrete cosine transform of the luminance, of two colour
 * differences (yellow – blue, red – green) and of the alpha. Format: https://evanw.github.io/thumbhash/
 * This decoder is Gallery's own.
 */

const SIDE_PX = 32;
const COLOURFUL = 1.25; // makes up for what the colours lose by quantising
const text = String.fromCharCode;

/** A channel's value where the waves have these values. */
type Channel = (across: number[], down: number[]) => number;

/** A `data:` URL of a PNG of at most 32 × 32 pixels. Takes the hash in base64; needs no canvas. */
export function thumbhashUrl(base64: string): string {
  const hash = atob(base64);
  let at = 0;
  const bits = (count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++, at++) value |= ((hash.charCodeAt(at >> 3) >> (at & 7)) & 1) << i;
    return value;
  };
  /** Its waves have four bits each: a triangle of the low ones, without the mean at its corner. */
  const channel = (mean: number, scale: number, nx: number, ny: number): Channel => {
    const waves: [x: number, y: number, size: number][] = [];
    for (let y = 0; y < ny; y++) {
      for (let x = y ? 0 : 1; x * ny < nx * (ny - y); x++) waves.push([x, y, (bits(4) / 7.5 - 1) * scale * 2]);
    }
    return (across, down) => {
      let value = mean;
      for (const [x, y, size] of waves) value += size * (across[x] ?? 0) * (down[y] ?? 0);
      return value;
    };
  };

  const [l, p, q, lScale, hasAlpha] = [bits(6) / 63, bits(6) / 31.5 - 1, bits(6) / 31.5 - 1, bits(5) / 31, bits(1)];
  const [shorter, pScale, qScale, isWide] = [bits(3), bits(6) / 63, bits(6) / 63, bits(1)];
  const longer = hasAlpha ? 5 : 7;
  const [nx, ny] = isWide ? [longer, shorter] : [shorter, longer];
  const [a, aScale] = hasAlpha ? [bits(4) / 15, bits(4) / 15] : [1, 0];
  const luminance = channel(l, lScale, Math.max(3, nx), Math.max(3, ny));
  const yellowBlue = channel(p, pScale * COLOURFUL, 3, 3);
  const redGreen = channel(q, qScale * COLOURFUL, 3, 3);
  const alpha = channel(a, aScale, hasAlpha && 5, 5);

  const [columns, lines] = [cosines(nx / ny), cosines(ny / nx)];
  const rows = new Uint8ClampedArray(lines.length * (4 * columns.length + 1));
  let next = 0;
  for (const down of lines) {
    next++; // the row's filter: none
    for (const across of columns) {
      const [light, difference] = [luminance(across, down), redGreen(across, down)];
      const blue = light - (2 / 3) * yellowBlue(across, down);
      const red = (3 * light - blue + difference) / 2;
      for (const share of [red, red - difference, blue, alpha(across, down)]) rows[next++] = 255 * share;
    }
  }
  return png(columns.length, rows);
}

/** The values of the first seven waves at each pixel of a side that has this ratio to the other. */
function cosines(ratio: number): number[][] {
  const length = Math.round(SIDE_PX * Math.min(1, ratio));
  return Array.from({ length }, (_, i) =>
    Array.from({ length: 7 }, (_, n) => Math.cos(((i + 0.5) * n * Math.PI) / length)),
  );
}

/** RGBA rows, each with its filter's byte, in one zlib block that is not compressed. */
function png(width: number, rows: Uint8ClampedArray): string {
  const { length } = rows;
  let [low, high] = [1, 0]; // Adler-32
  for (const byte of rows) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  const header = `IHDR${uint32(width)}${uint32(length / (4 * width + 1))}\x08\x06\0\0\0`;
  const block = text(0x78, 1, 1, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255, ...rows);
  const chunks = [header, `IDAT${block}${uint32((high << 16) | low)}`, "IEND"].map(chunk);
  return `data:image/png;base64,${btoa(`\x89PNG\r\n\x1a\n${chunks.join("")}`)}`;
}

function chunk(body: string): string {
  let crc = -1;
  for (let i = 0; i < body.length; i++) {
    crc ^= body.charCodeAt(i);
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return uint32(body.length - 4) + body + uint32(~crc);
}

function uint32(value: number): string {
  return text(...[24, 16, 8, 0].map((shift) => (value >> shift) & 255));
}
