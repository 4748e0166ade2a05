/**
 * SHA-256 (FIPS 180-4) of files. WebCrypto digests only whole buffers, and only in secure contexts: what it cannot do is
 * done here, piece by piece.
 */

const PIECE = 256 * 1024; // bytes that are hashed without a pause, a multiple of 64: a few milliseconds
const WHOLE = 8_000_000; // bytes that WebCrypto gets at once

/** In hexadecimal digits. Throws what reading the file throws, and the reason of an abort. */
export async function sha256(blob: Blob, signal?: AbortSignal): Promise<string> {
  if (blob.size <= WHOLE && globalThis.crypto?.subtle) {
    return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer())));
  }
  const [state, constants] = roots();
  const message = new Blob([blob, ending(blob.size)]);
  for (let at = 0; at < message.size; at += PIECE) {
    signal?.throwIfAborted();
    compress(state, constants, new DataView(await message.slice(at, at + PIECE).arrayBuffer()));
  }
  return hex(new Uint32Array(state.buffer));
}

/** 32 hexadecimal digits that nothing else has. `randomUUID` is missing over plain HTTP. */
export function randomKey(): string {
  return hex(crypto.getRandomValues(new Uint32Array(4)));
}

function hex(numbers: Uint8Array | Uint32Array): string {
  const digits = 2 * numbers.BYTES_PER_ELEMENT;
  return Array.from(numbers, (number) => number.toString(16).padStart(digits, "0")).join("");
}

/** The fractions of the square roots of the first 8 primes, and of the cube roots of the first 64. */
function roots(): [Int32Array, Int32Array] {
  const primes: number[] = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (root: number) => ((root % 1) * 2 ** 32) | 0;
  const squares = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  return [Int32Array.from(squares), Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)))];
}

/** What follows every message: a bit, zeros up to a whole block, and the number of bits. */
function ending(size: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(9 + ((119 - (size % 64)) % 64)));
  view.setUint8(0, 0x80);
  view.setUint32(view.byteLength - 8, size / 2 ** 29);
  view.setUint32(view.byteLength - 4, size * 8);
  return view;
}

function compress(state: Int32Array, constants: Int32Array, blocks: DataView): void {
  const words = new Int32Array(64);
  for (let start = 0; start < blocks.byteLength; start += 64) {
    for (let i = 0; i < 16; i++) words[i] = blocks.getInt32(start + 4 * i);
    for (let i = 16; i < 64; i++) {
      const far = words[i - 15] as number;
      const near = words[i - 2] as number;
      words[i] =
        (words[i - 16] as number) +
        (rotated(far, 7) ^ rotated(far, 18) ^ (far >>> 3)) +
        (words[i - 7] as number) +
        (rotated(near, 17) ^ rotated(near, 19) ^ (near >>> 10));
    }
    let a = state[0] as number;
    let b = state[1] as number;
    let c = state[2] as number;
    let d = state[3] as number;
    let e = state[4] as number;
    let f = state[5] as number;
    let g = state[6] as number;
    let h = state[7] as number;
    for (let i = 0; i < 64; i++) {
      const one =
        h +
        (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
        ((e & f) ^ (~e & g)) +
        (constants[i] as number) +
        (words[i] as number);
      const two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + two) | 0;
    }
    state[0] = (state[0] as number) + a;
    state[1] = (state[1] as number) + b;
    state[2] = (state[2] as number) + c;
    state[3] = (state[3] as number) + d;
    state[4] = (state[4] as number) + e;
    state[5] = (state[5] as number) + f;
    state[6] = (state[6] as number) + g;
    state[7] = (state[7] as number) + h;
  }
}

const rotated = (word: number, bits: number) => (word >>> bits) | (word << (32 - bits));
