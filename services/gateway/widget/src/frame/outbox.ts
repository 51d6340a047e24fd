/**
 * Messages that the gateway has not yet accepted. Each has an idempotency key, so it is sent until it is accepted and
 * still becomes one turn: offline, after a reload, and from two tabs.
 */

import type { Pending } from "../protocol";
import { uuid } from "./uuid";
import { type Api, Problem } from "./api";
import { Backoff } from "./backoff";

/** The token has ended: the loader gets another one for the same session. */
export const TOKEN_ENDED = new Set(["expired_visitor_token", "invalid_visitor_token"]);

export interface OutboxUser {
  lost(problem: Problem): void;
  /** Whether the stream has told this turn. */
  knows(turnId: string): boolean;
  /** Resolves when no turn runs. */
  idle(signal: AbortSignal): Promise<void>;
  changed(pending: Pending[]): void;
}

export class Outbox {
  private items: Pending[];
  private sending = false;
  private readonly closing = new AbortController();

  /** `kept`: what an earlier page load left. */
  constructor(
    private readonly api: Api,
    private readonly user: OutboxUser,
    kept: Pending[],
  ) {
    this.items = kept.filter((item) => item.state !== "failed");
    if (this.items.length) this.publish();
    void this.run();
  }

  add(text: string): void {
    this.items.push({ key: uuid(), text, state: "sending", code: null, retryAfterS: 0, turnId: null });
    this.publish();
    void this.run();
  }

  retry(key: string): void {
    this.set(key, { state: "sending", code: null });
    void this.run();
  }

  drop(key: string): void {
    this.items = this.items.filter((item) => item.key !== key);
    this.publish();
  }

  /** The stream has told these turns: their messages are shown by it from now on. */
  seen(turnIds: Set<string>): void {
    const left = this.items.filter((item) => item.turnId === null || !turnIds.has(item.turnId));
    if (left.length === this.items.length) return;
    this.items = left;
    this.publish();
  }

  close(): void {
    this.closing.abort();
  }

  private async run(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      for (let next = this.next(); next && !this.closing.signal.aborted; next = this.next()) await this.send(next);
    } finally {
      this.sending = false;
    }
  }

  private next(): Pending | undefined {
    return this.items.find((item) => item.state === "sending" || item.state === "waiting");
  }

  private async send(item: Pending): Promise<void> {
    const backoff = new Backoff();
    const { signal } = this.closing;
    while (!signal.aborted && this.items.some((each) => each.key === item.key)) {
      try {
        await this.user.idle(signal);
        const turnId = await this.api.post(item.text, item.key);
        // The answer to an earlier try may have been lost, and the stream may have told the turn since.
        if (this.user.knows(turnId)) this.drop(item.key);
        else this.set(item.key, { turnId, state: "accepted", code: null });
        return;
      } catch (error) {
        const problem = error instanceof Problem ? error : new Problem("internal_error", 0);
        if (problem.code === "turn_in_progress") {
          await backoff.pause(signal);
          continue;
        }
        if (TOKEN_ENDED.has(problem.code)) this.user.lost(problem);
        // A budget is there again the next day, when nobody waits for the answer any more.
        const later = problem.code === "budget_exceeded";
        const again =
          TOKEN_ENDED.has(problem.code) ||
          problem.status === 0 ||
          problem.status >= 500 ||
          problem.status === 408 ||
          (problem.status === 429 && !later);
        const state = again ? "waiting" : "failed";
        this.set(item.key, { state, code: problem.code, retryAfterS: problem.retryAfterS });
        if (!again) return;
        await backoff.pause(signal, problem.retryAfterS * 1000);
      }
    }
  }

  private set(key: string, change: Partial<Pending>): void {
    this.items = this.items.map((item) => (item.key === key ? { ...item, ...change } : item));
    this.publish();
  }

  private publish(): void {
    this.user.changed(this.items);
  }
}
