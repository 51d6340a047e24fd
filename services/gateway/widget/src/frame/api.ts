/** The calls of the frame. All go to the gateway's own origin, with the visitor token. */

import type { Access } from "../protocol";

const TIMEOUT_MS = 15_000;
const RENEW_MS = 30 * 60_000;

export class Problem extends Error {
  constructor(
    readonly code: string,
    readonly status: number,
    readonly retryAfterS = 0,
  ) {
    super(code);
  }
}

interface Renewed {
  visitorToken: string;
  expiresAt: string;
}

export interface SessionPage {
  data: {
    id: string;
    opening: string | null;
    status: "active" | "ended";
    turnCount: number;
    createdAt: string;
    lastMessageAt: string | null;
  }[];
  pagination: { nextCursor: string | null };
}

export class Api {
  private renewedAt = performance.now();

  constructor(
    private access: Access,
    private readonly changed: (access: Access) => void,
  ) {}

  get sessionId(): string {
    return this.access.sessionId;
  }

  get isIdentified(): boolean {
    return this.access.identified;
  }

  use(access: Access): void {
    this.access = access;
    this.renewedAt = performance.now();
  }

  /** Accepted for good once it resolves: the turn's id. A repeat with the same key is the same turn. */
  async post(content: string, key: string): Promise<string> {
    const answer = await this.json("POST", "/messages", { content }, { "Idempotency-Key": key, Prefer: "respond-async" });
    return String(answer.turnId);
  }

  async cancel(turnId: string): Promise<void> {
    await this.json("POST", `/turns/${turnId}/cancel`);
  }

  async end(): Promise<void> {
    await this.json("POST", "/end");
  }

  async rate(messageId: string, rating: "up" | "down", comment?: string): Promise<void> {
    await this.json("POST", `/messages/${messageId}/feedback`, comment ? { rating, comment } : { rating });
  }

  /** A page of the identified visitor's sessions, newest first. */
  async earlier(cursor: string | null): Promise<SessionPage> {
    const url = `/api/v1/chat/widget/sessions?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    return this.visitors("GET", url) as Promise<SessionPage>;
  }

  /** A token for another session of the same visitor. */
  async open(sessionId: string): Promise<Access> {
    const { data } = (await this.visitors("POST", `/api/v1/chat/widget/earlier/${sessionId}/token`)) as { data: Renewed };
    return { token: data.visitorToken, expiresAt: data.expiresAt, sessionId, identified: true };
  }

  private async visitors(method: string, url: string): Promise<unknown> {
    const response = await this.fetch(url, method, undefined, {}, AbortSignal.timeout(TIMEOUT_MS));
    if (!response.ok) throw await problemOf(response);
    return response.json();
  }

  /** The live events of the session, after the given one. Throws Problem; `network` if there is no answer. */
  async events(lastId: string, signal: AbortSignal): Promise<Response> {
    const resume: Record<string, string> = lastId ? { "Last-Event-ID": lastId } : {};
    return this.request("GET", "/events?frames=true", undefined, resume, signal);
  }

  private async json(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Record<string, unknown>> {
    const response = await this.request(method, path, body, headers, AbortSignal.timeout(TIMEOUT_MS));
    return ((await response.json().catch(() => ({}))) as { data?: Record<string, unknown> }).data ?? {};
  }

  private async request(
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Response> {
    const url = `/api/v1/chat/sessions/${this.access.sessionId}${path}`;
    // By time of use and not by `expiresAt`: the visitor's clock may be wrong.
    if (performance.now() - this.renewedAt > RENEW_MS) await this.renew();
    const response = await this.fetch(url, method, body, headers, signal);
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  private async fetch(
    url: string,
    method: string,
    body: unknown,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Response> {
    const json: Record<string, string> = body === undefined ? {} : { "Content-Type": "application/json" };
    try {
      return await fetch(url, {
        method,
        signal,
        body: body === undefined ? null : JSON.stringify(body),
        headers: { Authorization: `Bearer ${this.access.token}`, ...json, ...headers },
        credentials: "omit",
        cache: "no-store",
      });
    } catch {
      throw new Problem("network", 0);
    }
  }

  /** The present token works on if this fails. */
  private async renew(): Promise<void> {
    this.renewedAt = performance.now();
    const url = "/api/v1/chat/widget/token";
    const response = await this.fetch(url, "POST", undefined, {}, AbortSignal.timeout(TIMEOUT_MS)).catch(() => null);
    if (!response?.ok) return;
    const { data } = (await response.json()) as { data: Renewed };
    this.access = { ...this.access, token: data.visitorToken, expiresAt: data.expiresAt };
    this.changed(this.access);
  }
}

async function problemOf(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => ({}))) as { code?: string };
  return new Problem(body.code ?? "internal_error", response.status, Number(response.headers.get("Retry-After")) || 0);
}
