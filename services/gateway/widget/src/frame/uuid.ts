/** `crypto.randomUUID` exists in secure contexts only; an intranet may serve the gateway without TLS. */
export function uuid(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
