/** The calls of the pages: all to the gateway's own origin. The key is held in this object and nowhere else. */

import { Problem } from "../../../widget/src/frame/api";

const TIMEOUT_MS = 30_000;
const BASE = "/api/v1";

export interface FieldFault {
  field: string;
  message: string;
}

/** A problem document, or `network` where there was no answer. */
export class Refusal extends Problem {
  constructor(
    code: string,
    status: number,
    retryAfterS: number,
    readonly detail: string,
    readonly faults: FieldFault[] = [],
    readonly requestId = "",
  ) {
    super(code, status, retryAfterS);
  }
}

export interface Page<T> {
  items: T[];
  next: string | null;
  counts?: Record<string, number>;
}

export interface Sent {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export class Api {
  constructor(
    private readonly key: string,
    /** Told once the key is refused: it was revoked or has expired. */
    private readonly locked: (refusal: Refusal) => void = () => undefined,
  ) {}

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return ((await this.json("GET", path, signal ? { signal } : {})) as { data: T }).data;
  }

  async page<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
    const answer = (await this.json("GET", path, signal ? { signal } : {})) as {
      data: T[];
      pagination: { nextCursor: string | null; counts?: Record<string, number> };
    };
    const { nextCursor, counts } = answer.pagination;
    return { items: answer.data, next: nextCursor, ...(counts && { counts }) };
  }

  async send<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    return ((await this.json(method, path, { body, headers })) as { data: T }).data;
  }

  /** The answer as it is, such as a stream. Raises Refusal. */
  async open(method: string, path: string, sent: Sent = {}): Promise<Response> {
    const response = await this.fetched(method, path, sent);
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    if (refusal.status === 401) this.locked(refusal);
    throw refusal;
  }

  private async json(method: string, path: string, sent: Sent): Promise<unknown> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const signal = sent.signal ? AbortSignal.any([sent.signal, timeout]) : timeout;
    const response = await this.open(method, path, { ...sent, signal });
    return response.status === 204 ? {} : response.json();
  }

  private async fetched(method: string, path: string, { body, headers, signal }: Sent): Promise<Response> {
    const isForm = body instanceof FormData;
    const json: Record<string, string> = body === undefined || isForm ? {} : { "Content-Type": "application/json" };
    try {
      return await fetch(BASE + path, {
        method,
        body: body === undefined ? null : isForm ? body : JSON.stringify(body),
        headers: { Authorization: `Bearer ${this.key}`, ...json, ...headers },
        credentials: "omit",
        cache: "no-store",
        ...(signal && { signal }),
      });
    } catch {
      throw new Refusal("network", 0, 0, "The gateway did not answer. Check the connection and try again.");
    }
  }
}

async function refusalOf(response: Response): Promise<Refusal> {
  const body = (await response.json().catch(() => ({}))) as {
    code?: string;
    detail?: string;
    errors?: FieldFault[];
    instance?: string;
  };
  return new Refusal(
    body.code ?? "internal_error",
    response.status,
    Number(response.headers.get("Retry-After")) || 0,
    body.detail ?? `The gateway answered with the status ${response.status}.`,
    body.errors ?? [],
    body.instance ?? response.headers.get("x-request-id") ?? "",
  );
}

/** What somebody wrote into a field, the plural `what`. Raises Refusal. */
export function parsedJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal("invalid_json", 0, 0, `${what} are not valid JSON: ${(error as Error).message}`);
  }
}

export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal("network", 0, 0, "The connection broke. Try again.");
}

/** `?a=1&b=2` of the members that have a value. */
export function query(members: Record<string, string | number | boolean | null | undefined>): string {
  const given = Object.entries(members).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}
