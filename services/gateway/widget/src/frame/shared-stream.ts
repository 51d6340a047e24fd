/**
 * One stream for all tabs of a conversation, because HTTP/1.1 allows a browser six connections to an origin.
 *
 * The tab that holds the lock reads the stream and tells the others each event. A tab that becomes visible takes the
 * lock: browsers freeze hidden tabs. Every tab resumes from what it has itself, and an event may be applied twice, so a
 * change of the reading tab leaves neither a gap nor a repeat.
 */

import { uuid } from "./uuid";
import type { Api, Problem } from "./api";
import { apply, type Conversation, EMPTY, type SessionEvent } from "./conversation";
import { follow, type StreamStatus } from "./session-stream";

type Told =
  | { kind: "event"; event: SessionEvent; reader: string; count: number }
  | { kind: "status"; status: StreamStatus }
  | { kind: "hello" }
  | { kind: "state"; state: Conversation; reader: string; count: number };

export interface SharedUser {
  changed(conversation: Conversation): void;
  status(status: StreamStatus): void;
  failed(problem: Problem): void;
}

export class SharedStream {
  conversation: Conversation = EMPTY;
  private readonly name: string;
  private readonly me = uuid();
  private readonly channel: BroadcastChannel | null;
  private readonly closing = new AbortController();
  private reading = false;
  private count = 0;
  /** The last event that another tab told: who and its number. */
  private heard = { reader: "", count: 0 };

  constructor(
    private readonly api: Api,
    private readonly user: SharedUser,
  ) {
    this.name = `parley:${api.sessionId}`;
    this.channel = "BroadcastChannel" in window ? new BroadcastChannel(this.name) : null;
    if (this.channel) this.channel.onmessage = ({ data }: MessageEvent<Told>) => this.hear(data);
    document.addEventListener("visibilitychange", () => this.appear(), { signal: this.closing.signal });
    this.tell({ kind: "hello" });
    void this.read(document.visibilityState === "visible");
  }

  close(): void {
    this.closing.abort();
    this.channel?.close();
  }

  private appear(): void {
    if (document.visibilityState !== "visible" || this.reading) return;
    this.tell({ kind: "hello" });
    void this.read(true);
  }

  /** Reads the stream while this tab holds the lock. */
  private async read(steal: boolean): Promise<void> {
    if (!this.channel || !("locks" in navigator)) return this.follow(this.closing.signal);
    const lock = new AbortController();
    const stop = AbortSignal.any([lock.signal, this.closing.signal]);
    try {
      await navigator.locks.request(this.name, steal ? { steal } : { signal: this.closing.signal }, () =>
        this.follow(stop),
      );
    } catch (error) {
      lock.abort();
      if (this.closing.signal.aborted) return;
      // Another tab took the lock: this one waits for it. Where there are no locks, each tab reads for itself.
      if ((error as DOMException).name === "AbortError") void this.read(false);
      else void this.follow(this.closing.signal);
    }
  }

  private async follow(signal: AbortSignal): Promise<void> {
    this.reading = true;
    try {
      await follow(
        this.api,
        {
          lastId: () => this.conversation.lastId,
          event: (event) => {
            this.apply(event);
            this.tell({ kind: "event", event, reader: this.me, count: ++this.count });
          },
          status: (status) => {
            this.user.status(status);
            this.tell({ kind: "status", status });
          },
          failed: (problem) => this.user.failed(problem),
        },
        signal,
      );
    } finally {
      this.reading = false;
    }
  }

  private hear(told: Told): void {
    switch (told.kind) {
      case "hello":
        if (this.reading && this.conversation.lastId) {
          this.tell({ kind: "state", state: this.conversation, reader: this.me, count: this.count });
        }
        return;
      case "status":
        return this.user.status(told.status);
      case "state":
        if (this.reading) return;
        this.heard = { reader: told.reader, count: told.count };
        this.set(told.state);
        return;
      case "event":
        return this.hearEvent(told);
    }
  }

  private hearEvent(told: Told & { kind: "event" }): void {
    if (this.reading) return;
    const follows = told.reader === this.heard.reader && told.count === this.heard.count + 1;
    const first = told.reader !== this.heard.reader && told.count === 1;
    if (!follows && !first) return this.tell({ kind: "hello" });
    this.heard = { reader: told.reader, count: told.count };
    this.apply(told.event);
  }

  private apply(event: SessionEvent): void {
    this.set(apply(this.conversation, event));
  }

  private set(conversation: Conversation): void {
    if (conversation === this.conversation) return;
    this.conversation = conversation;
    this.user.changed(conversation);
  }

  private tell(told: Told): void {
    if (!this.closing.signal.aborted) this.channel?.postMessage(told);
  }
}
