/** The stream of one turn: its frames with the times at which they came. It is never resumed without being asked to. */

import { createParser } from "eventsource-parser";

/** The gateway sends a comment at least every 5 s. A longer silence is a dead connection. */
const SILENCE_MS = 15_000;

export interface Frame {
  /** Milliseconds since the message was sent. */
  at: number;
  event: string;
  /** Empty for a frame that was made for this reader only. */
  id: string;
  data: Record<string, any>;
  /** Which connection brought it, from 1. */
  connection: number;
}

/** Reads until the stream ends. Throws when `signal` aborts, or when the connection breaks or falls silent. */
export async function readFrames(
  response: Response,
  signal: AbortSignal,
  take: (frame: Pick<Frame, "event" | "id" | "data">) => void,
): Promise<void> {
  if (!response.body) return;
  const parser = createParser({
    onEvent: ({ event, id, data }) => take({ event: event ?? "", id: id ?? "", data: JSON.parse(data) }),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const cut = (): void => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", cut);
  let timer = setTimeout(cut, SILENCE_MS);
  try {
    for (;;) {
      const { value, done } = await reader.read();
      signal.throwIfAborted();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(cut, SILENCE_MS);
      parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", cut);
    cut();
  }
}
