/** One session as it is tried out: a message is posted, its frames are read, cut and resumed by hand. */

import { apply, type Conversation, EMPTY } from "../../../widget/src/frame/conversation";
import { uuid } from "../../../widget/src/frame/uuid";
import { type Api, asRefusal, Refusal } from "./api";
import { type Frame, readFrames } from "./turn-stream";

export type Phase = "idle" | "connecting" | "streaming" | "cut";

export interface Choice {
  agentId: string;
  draft: boolean;
}

export interface ChatState {
  sessionId: string | null;
  agentVersion: number | null;
  conversation: Conversation;
  /** Of the newest turn. */
  frames: Frame[];
  turnId: string | null;
  lastId: string;
  question: string;
  phase: Phase;
  refusal: Refusal | null;
}

const START: ChatState = {
  sessionId: null,
  agentVersion: null,
  conversation: EMPTY,
  frames: [],
  turnId: null,
  lastId: "",
  question: "",
  phase: "idle",
  refusal: null,
};

export class Chat {
  state: ChatState = START;
  private key = "";
  private sentAt = 0;
  private connection = 0;
  private reading = new AbortController();
  private closed = false;

  constructor(
    private readonly api: Api,
    private readonly choice: Choice,
    private readonly changed: (state: ChatState) => void,
  ) {}

  async send(question: string): Promise<void> {
    if (this.state.phase !== "idle") return;
    this.key = uuid();
    this.sentAt = performance.now();
    this.connection = 0;
    this.set({ question, frames: [], turnId: null, lastId: "", refusal: null, phase: "connecting" });
    await this.connect(() => this.post());
  }

  /** Drops the connection, as a broken network would. The turn runs on. */
  cut(): void {
    this.reading.abort();
  }

  /** Goes on after the last frame. A cut before the first frame repeats the request: its key makes it the same turn. */
  async resume(): Promise<void> {
    if (this.state.phase !== "cut") return;
    this.set({ phase: "connecting", refusal: null });
    const { turnId, sessionId, lastId } = this.state;
    if (!turnId) return this.connect(() => this.post());
    const headers: Record<string, string> = lastId ? { "Last-Event-ID": lastId } : {};
    const path = `/chat/sessions/${sessionId}/turns/${turnId}/events`;
    await this.connect((signal) => this.api.open("GET", path, { headers, signal }));
  }

  async cancel(): Promise<void> {
    const { sessionId, turnId } = this.state;
    if (!turnId) return;
    try {
      await this.api.send("POST", `/chat/sessions/${sessionId}/turns/${turnId}/cancel`);
    } catch (error) {
      this.set({ refusal: asRefusal(error) });
    }
  }

  close(): void {
    this.closed = true;
    this.reading.abort();
  }

  private async post(): Promise<Response> {
    if (!this.state.sessionId) {
      const body = { agentId: this.choice.agentId, draftMode: this.choice.draft };
      const made = await this.api.send<{ id: string; agentVersion: number }>("POST", "/chat/sessions", body);
      this.set({ sessionId: made.id, agentVersion: made.agentVersion });
    }
    return this.api.open("POST", `/chat/sessions/${this.state.sessionId}/messages`, {
      body: { content: this.state.question, stream: true },
      headers: { "Idempotency-Key": this.key },
      signal: this.reading.signal,
    });
  }

  private async connect(open: (signal: AbortSignal) => Promise<Response>): Promise<void> {
    this.reading = new AbortController();
    const { signal } = this.reading;
    this.connection += 1;
    let ended = false;
    try {
      const response = await open(signal);
      this.set({ phase: "streaming" });
      // 204: everything was told before the cut.
      ended = response.status === 204;
      await readFrames(response, signal, (frame) => {
        ended ||= frame.event === "done" || frame.event === "error";
        this.take(frame);
      });
      this.set({ phase: ended ? "idle" : "cut" });
    } catch (error) {
      this.broken(ended, error);
    }
  }

  private broken(ended: boolean, error: unknown): void {
    const asked = this.reading.signal.aborted;
    if (ended) return this.set({ phase: "idle" });
    if (asked) return this.set({ phase: "cut" });
    const refusal = asRefusal(error);
    // A refusal of the first request leaves nothing to resume.
    const nothing = refusal.status > 0 && !this.state.turnId;
    this.set({ refusal, phase: nothing ? "idle" : "cut" });
  }

  private take(frame: Pick<Frame, "event" | "id" | "data">): void {
    const seen = { ...frame, at: performance.now() - this.sentAt, connection: this.connection };
    const turnId: string | null = frame.data.turnId ?? this.state.turnId;
    this.set({
      frames: [...this.state.frames, seen],
      turnId,
      lastId: frame.id || this.state.lastId,
      conversation: apply(this.state.conversation, this.asSessionEvent(frame, turnId ?? "")),
    });
  }

  /** As the session's own stream tells it, so that one module knows how a conversation grows. */
  private asSessionEvent(frame: Pick<Frame, "event" | "id" | "data">, turnId: string) {
    const id = frame.id ? `${turnId}.${frame.id}` : "";
    const { data, event } = frame;
    if (event === "queued") {
      const messages = [{ role: "user", content: this.state.question }];
      const number = this.state.conversation.turns.length + 1;
      return { id, event: "turn_started", data: { turnId, number, createdAt: new Date().toISOString(), messages } };
    }
    if (event === "done") return { id, event: "turn_ended", data: { ...data, turnId } };
    if (event === "error") return { id, event: "turn_ended", data: { turnId, status: "failed", error: data } };
    return { id, event, data: { ...data, turnId } };
  }

  private set(change: Partial<ChatState>): void {
    if (this.closed) return;
    this.state = { ...this.state, ...change };
    this.changed(this.state);
  }
}
