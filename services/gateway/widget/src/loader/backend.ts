/** The cross-origin calls with the publishable key. The browser adds the page's Origin, which the gateway checks. */

import type { Access, Challenge, Config, Failure } from "../protocol";

const TIMEOUT_MS = 15_000;

export class Refused extends Error {
  constructor(readonly failure: Failure) {
    super(failure.code);
  }
}

interface Answer<T> {
  data: T;
}

/**
 * `visitorToken`: an earlier token, so that the visitor stays the same one. `identity`: the site's signed JWT.
 * `challenge`: what the frame has solved.
 */
interface Visit {
  visitorToken: string | undefined;
  identity: string | undefined;
  resume: boolean;
  challenge: string | undefined;
}

interface Started {
  session: { id: string };
  visitorToken: string;
  expiresAt: string;
  identified: boolean;
}

export class Backend {
  constructor(
    readonly origin: string,
    private readonly key: string,
  ) {}

  config(): Promise<Config> {
    return this.call<Config>("GET", "config");
  }

  async startSession(visit: Visit): Promise<Access> {
    const started = await this.call<Started>("POST", "sessions", JSON.stringify(visit));
    return {
      token: started.visitorToken,
      expiresAt: started.expiresAt,
      sessionId: started.session.id,
      identified: started.identified,
    };
  }

  /** Throws Refused: with the API's code, or `network` if there was no answer. */
  private async call<T>(method: string, path: string, body?: string): Promise<T> {
    let response: Response;
    const headers: Record<string, string> = { Authorization: `Bearer ${this.key}` };
    if (body) headers["Content-Type"] = "application/json";
    try {
      response = await fetch(`${this.origin}/api/v1/chat/widget/${path}`, {
        method,
        headers,
        body: body ?? null,
        credentials: "omit",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw new Refused({ code: "network", retryAfterS: 0 });
    }
    const answer = (await response.json().catch(() => ({}))) as Answer<T> & {
      code?: string;
      detail?: string;
      challenge?: Challenge;
    };
    if (response.ok) return answer.data;
    const code = answer.code ?? "internal_error";
    // A challenge is for the frame, and no fault of the site.
    if (!answer.challenge) explain(code, answer.detail ?? "");
    throw new Refused({ code, retryAfterS: Number(response.headers.get("Retry-After")) || 0, challenge: answer.challenge });
  }
}

/** One line for the site's owner. The visitor reads a text of the frame instead. */
function explain(code: string, detail: string): void {
  const hint =
    code === "origin_not_allowed"
      ? `${location.origin} is not among the key's allowedOrigins.`
      : detail;
  console.error(`Parley: ${code}: ${hint}`);
}
