/** The live events of a session, resumed after every cut from the last event that was applied. */

import { createParser } from "eventsource-parser";

import { type Api, Problem } from "./api";
import { Backoff } from "./backoff";
import type { SessionEvent } from "./conversation";

/** The gateway sends a comment at least every 5 s. A longer silence is a dead connection. */
const SILENCE_MS = 15_000;

export type StreamStatus = "live" | "reconnecting";

export interface StreamUser {
  lastId(): string;
  event(event: SessionEvent): void;
  status(status: StreamStatus): void;
  /** The stream cannot go on: the session is gone or the visitor's access has ended. */
  failed(problem: Problem): void;
}

export async function follow(api: Pick<Api, "events">, user: StreamUser, signal: AbortSignal): Promise<void> {
  const backoff = new Backoff();
  let ended = false;
  while (!signal.aborted && !ended) {
    try {
      ended = await readOnce(api, user, signal, () => {
        backoff.reset();
        user.status("live");
      });
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem("network", 0);
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 408 && problem.status !== 429) {
        return user.failed(problem);
      }
      if (signal.aborted) return;
      user.status("reconnecting");
      await backoff.pause(signal, problem.retryAfterS * 1000);
      continue;
    }
    if (!ended && !signal.aborted) {
      user.status("reconnecting");
      await backoff.pause(signal);
    }
  }
}

/** True once the session has told everything. */
async function readOnce(
  api: Pick<Api, "events">,
  user: StreamUser,
  outer: AbortSignal,
  heard: () => void,
): Promise<boolean> {
  const connection = new AbortController();
  const cut = (): void => connection.abort();
  outer.addEventListener("abort", cut);
  let timer = setTimeout(cut, SILENCE_MS);
  let over = false;
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      if (event === "error") throw new Problem(String(JSON.parse(data).code), Number(JSON.parse(data).status));
      over ||= event === "session_ended";
      user.event({ id: id ?? "", event: event ?? "", data: JSON.parse(data) });
    },
  });
  try {
    const response = await api.events(user.lastId(), connection.signal);
    heard();
    if (response.status === 204 || !response.body) return true;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return over;
      clearTimeout(timer);
      timer = setTimeout(cut, SILENCE_MS);
      parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
    outer.removeEventListener("abort", cut);
    cut();
  }
}
