// What openai-node throws for each refusal. Each case names itself to the relay, which counts its requests.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { baseURL, cases } = JSON.parse(readFileSync(0, "utf8"));
const found = {};
await Promise.all(
  cases.map(async ({ name, key, target, path, body, headers }) => {
    const defaultHeaders = { "x-case": name, ...(target ? { "x-target": target } : {}), ...headers };
    const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 1, timeout: 30_000, defaultHeaders });
    try {
      await client.post(path, { body });
      found[name] = { type: null };
    } catch (error) {
      found[name] = { type: error.constructor.name, status: error.status, message: error.message, code: error.code, requestId: error.requestID };
    }
  }),
);
console.log(JSON.stringify(found));
