/** All that the client uses of Node. */
declare module "node:fs" {
  export function readFileSync(descriptor: number, encoding: "utf8"): string;
}
