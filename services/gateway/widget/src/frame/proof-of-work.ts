/**
 * Solves the challenge that the gateway sets while sessions start in large numbers: ALTCHA's, version 2, with PBKDF2.
 *
 * The browser's own PBKDF2 works beside the page. Where it is missing (pages without TLS), slices of our own let the
 * page go on in between; the frame's policy allows no worker.
 */

import type { Challenge } from "../protocol";
import { derivation } from "./pbkdf2";

type Derive = (password: Uint8Array<ArrayBuffer>) => Promise<Uint8Array>;

/** Enough to keep the browser's threads busy. */
const TOGETHER = 32;
const SLICE_MS = 8;

/** The payload that the gateway takes as `challenge`. About a second of work; several on a slow phone. */
export async function solve(challenge: Challenge): Promise<string> {
  const { nonce, keyPrefix } = challenge.parameters;
  const derive = "subtle" in crypto ? native(challenge) : sliced(challenge);
  for (let first = 0; ; first += TOGETHER) {
    const counters = Array.from({ length: TOGETHER }, (_, at) => first + at);
    const keys = await Promise.all(counters.map(async (counter) => toHex(await derive(password(nonce, counter)))));
    const at = keys.findIndex((key) => key.startsWith(keyPrefix));
    if (at >= 0) return btoa(JSON.stringify({ challenge, solution: { counter: first + at, derivedKey: keys[at] } }));
  }
}

function native({ parameters: { salt, cost, keyLength } }: Challenge): Derive {
  const how = { name: "PBKDF2", hash: "SHA-256", salt: fromHex(salt), iterations: cost };
  return async (password) => {
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    return new Uint8Array(await crypto.subtle.deriveBits(how, key, keyLength * 8));
  };
}

function sliced({ parameters: { salt, cost, keyLength } }: Challenge): Derive {
  const derive = derivation(fromHex(salt), cost);
  let until = performance.now() + SLICE_MS;
  let turn = Promise.resolve();
  const paused = async (): Promise<void> => {
    if (performance.now() < until) return;
    await new Promise((resolve) => setTimeout(resolve));
    until = performance.now() + SLICE_MS;
  };
  return async (password) => {
    await (turn = turn.then(paused));
    return derive(password).slice(0, keyLength);
  };
}

function password(nonce: string, counter: number): Uint8Array<ArrayBuffer> {
  const own = fromHex(nonce);
  const bytes = new Uint8Array(own.length + 4);
  bytes.set(own);
  new DataView(bytes.buffer).setUint32(own.length, counter);
  return bytes;
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
