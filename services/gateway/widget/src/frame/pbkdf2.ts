/** PBKDF2 with HMAC-SHA-256 (RFC 8018, FIPS 180-4) for pages without the browser's own: one block of 32 bytes. */

const PRIMES = primes(64);
const ROUND = Int32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const BLOCK = 64;

/** For passwords of at most 64 bytes and salts of at most 51. */
export function derivation(salt: Uint8Array, iterations: number): (password: Uint8Array) => Uint8Array {
  const first = new Uint8Array(salt.length + 4);
  first.set(salt);
  first[salt.length + 3] = 1;
  return (password) => {
    const mac = hmac(password);
    let last = mac(words(first), first.length);
    const key = new Int32Array(last);
    for (let round = 1; round < iterations; round++) {
      last = mac(last, 32);
      for (let at = 0; at < 8; at++) key[at]! ^= last[at]!;
    }
    const bytes = new DataView(new ArrayBuffer(32));
    key.forEach((word, at) => bytes.setInt32(at * 4, word));
    return new Uint8Array(bytes.buffer);
  };
}

type Words = Int32Array;

/** The MAC of at most 55 bytes, given as whole words. */
function hmac(password: Uint8Array): (message: Words, length: number) => Words {
  const padded = (pad: number): Words => words(Uint8Array.from({ length: BLOCK }, (_, at) => (password[at] ?? 0) ^ pad));
  const inner = compressed(START, padded(0x36));
  const outer = compressed(START, padded(0x5c));
  return (message, length) => compressed(outer, closed(compressed(inner, closed(message, length)), 32));
}

/** The last block of a message that follows one whole block. `length` in bytes, a multiple of four. */
function closed(message: Words, length: number): Words {
  const block = new Int32Array(16);
  block.set(message);
  block[length / 4] = 0x80000000;
  block[15] = (BLOCK + length) * 8;
  return block;
}

const schedule = new Int32Array(64);

function compressed(state: Words, block: Words): Words {
  for (let at = 0; at < 16; at++) schedule[at] = block[at]!;
  for (let at = 16; at < 64; at++) {
    const early = schedule[at - 15]!;
    const late = schedule[at - 2]!;
    const low = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3);
    const high = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
    schedule[at] = (schedule[at - 16]! + low + schedule[at - 7]! + high) | 0;
  }
  let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!;
  let e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
  for (let at = 0; at < 64; at++) {
    const sum = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
    const one = (h + sum + ((e & f) ^ (~e & g)) + ROUND[at]! + schedule[at]!) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  const next = new Int32Array(state);
  next[0]! += a;
  next[1]! += b;
  next[2]! += c;
  next[3]! += d;
  next[4]! += e;
  next[5]! += f;
  next[6]! += g;
  next[7]! += h;
  return next;
}

function turned(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

/** Big-endian; the bytes are a multiple of four. */
function words(bytes: Uint8Array): Words {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Int32Array.from({ length: bytes.length / 4 }, (_, at) => view.getInt32(at * 4));
}

/** The first 32 bits of the fractional part. */
function fraction(value: number): number {
  return (value * 2 ** 32) | 0;
}

function primes(count: number): number[] {
  const found: number[] = [];
  for (let next = 2; found.length < count; next++) if (found.every((prime) => next % prime)) found.push(next);
  return found;
}
