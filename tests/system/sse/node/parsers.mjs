// Reads the same turn once per address with one of three SSE clients. Prints for each address what the client's user got.
import { readFileSync } from "node:fs";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";
import { fetchEventSource } from "@microsoft/fetch-event-source";

const { client, urls, apiKey, parallel, timeoutMs } = JSON.parse(readFileSync(0, "utf8"));
const authorization = { authorization: `Bearer ${apiKey}` };
const EVENTS = ["queued", "started", "delta", "restarted", "done", "error"];

// The user of a client: joins the text and stops at the terminal frame.
class Reader {
  text = "";
  stored = null;
  opened = 0;
  take(event, data) {
    const frame = JSON.parse(data);
    if (event === "restarted") this.text = "";
    if (event === "delta") this.text += frame.text;
    if (event === "done") this.stored = frame.messages.map((message) => message.content ?? "").join("");
    return event === "done" || event === "error";
  }
}

const CLIENTS = {
  eventsource(url, reader, signal) {
    return new Promise((resolve) => {
      const source = new EventSource(url, {
        fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...authorization } }),
      });
      const stop = () => (source.close(), resolve());
      signal.addEventListener("abort", stop);
      source.onopen = () => (reader.opened += 1);
      for (const event of EVENTS) source.addEventListener(event, ({ data }) => data && reader.take(event, data) && stop());
    });
  },

  async "eventsource-parser"(url, reader, signal) {
    let lastId = null;
    let ended = false;
    while (!ended) {
      const headers = lastId === null ? authorization : { ...authorization, "last-event-id": lastId };
      const response = await fetch(url, { headers, signal });
      reader.opened += 1;
      const parser = createParser({
        onEvent({ event, data, id }) {
          lastId = id ?? lastId;
          ended ||= reader.take(event, data);
        },
      });
      const decoder = new TextDecoder();
      try {
        for await (const piece of response.body) parser.feed(decoder.decode(piece, { stream: true }));
      } catch (error) {
        if (signal.aborted) throw error;
      }
    }
  },

  async "fetch-event-source"(url, reader, signal) {
    const controller = new AbortController();
    signal.addEventListener("abort", () => controller.abort());
    await fetchEventSource(url, {
      headers: authorization,
      openWhenHidden: true,
      signal: controller.signal,
      fetch,
      async onopen(response) {
        if (response.status !== 200) throw new Error(`HTTP ${response.status}`);
        reader.opened += 1;
      },
      onmessage({ event, data }) {
        if (data && reader.take(event, data)) controller.abort();
      },
      // As its documentation says: an end without the last frame is an error, so that it asks again.
      onclose() {
        throw new Error("closed");
      },
      onerror: () => 1,
    });
  },
};

// fetch-event-source is written for browsers.
globalThis.window = globalThis;
globalThis.document = { addEventListener() {}, removeEventListener() {} };

async function read(url) {
  const reader = new Reader();
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    await CLIENTS[client](url, reader, signal);
  } catch (error) {
    return { url, error: String(error), text: reader.text, stored: reader.stored, opened: reader.opened };
  }
  return { url, text: reader.text, stored: reader.stored, opened: reader.opened };
}

const waiting = [...urls];
await Promise.all(
  Array.from({ length: parallel }, async () => {
    for (let url = waiting.shift(); url !== undefined; url = waiting.shift()) console.log(JSON.stringify(await read(url)));
  }),
);
