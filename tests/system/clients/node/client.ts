/** Drives one turn with the types that `openapi-typescript` made of the API document: post, cut, resume, read back. */

import { readFileSync } from "node:fs";
import { createParser } from "eventsource-parser";
import createClient from "openapi-fetch";

import type { components, paths } from "./api";

type TurnEvent = components["schemas"]["TurnEvent"];

interface Config {
  baseUrl: string;
  apiKey: string;
  agentId: string;
  cutAfter: number;
}

const config = JSON.parse(readFileSync(0, "utf8")) as Config;
const api = createClient<paths>({
  baseUrl: config.baseUrl,
  headers: { Authorization: `Bearer ${config.apiKey}` },
});

/** The events of a stream, until it ends or is left. Without an id an event is for this reader only. */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<TurnEvent> {
  const found: TurnEvent[] = [];
  const parser = createParser({
    onEvent: ({ event, data, id }) => found.push({ event, data: JSON.parse(data), ...(id ? { id } : {}) } as TurnEvent),
  });
  const decoder = new TextDecoder();
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    yield* found.splice(0);
  }
}

const seen: string[] = [];
let text = "";
let lastId = "";
let turnId = "";
let stored: components["schemas"]["DoneData"] | undefined;

/** Every branch has the type of its event's data. */
function take(event: TurnEvent): void {
  seen.push(event.event);
  if (event.id) lastId = event.id;
  switch (event.event) {
    case "queued":
      turnId = event.data.turnId;
      return;
    case "delta":
      text += event.data.text;
      return;
    case "restarted":
      text = "";
      return;
    case "done":
      stored = event.data;
      return;
    case "error":
      throw new Error(`${event.data.code}: ${event.data.detail}`);
  }
}

const made = await api.POST("/api/v1/chat/sessions", { body: { agentId: config.agentId } });
if (made.error) throw new Error(made.error.detail);
const sessionId = made.data.data.id;

const leaving = new AbortController();
const posted = await api.POST("/api/v1/chat/sessions/{sessionId}/messages", {
  params: { path: { sessionId }, header: { "Idempotency-Key": "generated-client" } },
  body: { content: "hello", stream: true },
  parseAs: "stream",
  signal: leaving.signal,
});
if (posted.error) throw new Error(posted.error.detail);
for await (const event of eventsOf(posted.data as unknown as ReadableStream<Uint8Array>)) {
  take(event);
  if (text.length >= config.cutAfter) break;
}
leaving.abort();
const cutAt = lastId;

const followed = await api.GET("/api/v1/chat/sessions/{sessionId}/turns/{turnId}/events", {
  params: { path: { sessionId, turnId }, header: { "Last-Event-ID": cutAt } },
  parseAs: "stream",
});
if (followed.error) throw new Error(followed.error.detail);
for await (const event of eventsOf(followed.data as unknown as ReadableStream<Uint8Array>)) take(event);

const turn = await api.GET("/api/v1/chat/sessions/{sessionId}/turns/{turnId}", { params: { path: { sessionId, turnId } } });
const page = await api.GET("/api/v1/chat/sessions/{sessionId}/messages", { params: { path: { sessionId } } });
const absent = await api.GET("/api/v1/chat/sessions/{sessionId}", { params: { path: { sessionId: "ses_none" } } });
console.log(
  JSON.stringify({
    events: seen,
    text,
    cutAt,
    stored: stored?.messages.map((message) => message.content ?? "").join(""),
    status: turn.data?.data.status,
    roles: page.data?.data.map((message) => message.role),
    problem: absent.error?.code,
  }),
);
