/** What the frame knows: its settings, its access, the conversation and what is still to be sent. */

import type { Access, Challenge, Pending, Reason, Remembered, ToFrame } from "../protocol";
import { Api, Problem } from "./api";
import { Bridge } from "./bridge";
import { type Conversation, EMPTY, isRunning } from "./conversation";
import { nextPage, UNREAD } from "./history";
import { Outbox, TOKEN_ENDED } from "./outbox";
import { solve } from "./proof-of-work";
import { SharedStream } from "./shared-stream";
import { START, type State } from "./state";
import { chosenLocale } from "./texts";

/** A session that still needs a proof after so many of them will not come. */
const MOST_PROOFS = 3;

/** The codes after which a new session helps: this one is gone. */
const GONE = new Set(["session_not_found", "gone"]);

export class Store {
  state: State = START;
  private listener: () => void = () => undefined;
  private api: Api | null = null;
  private stream: SharedStream | null = null;
  private outbox: Outbox | null = null;
  private readonly bridge = new Bridge((message) => this.receive(message));
  private idle: (() => void)[] = [];
  private seenTurns = 0;
  private reason: Reason = "first";
  private proofs = 0;
  /** What the outbox of a session held last, here or in an earlier page load. */
  private kept: { sessionId: string; items: Pending[] } = { sessionId: "", items: [] };
  /** The stream has ended because the token has. */
  private interrupted = false;

  constructor() {
    for (const name of ["online", "offline"]) {
      window.addEventListener(name, () => this.set({ online: navigator.onLine }));
    }
  }

  subscribe(listener: () => void): void {
    this.listener = listener;
  }

  // --- what the visitor does

  send(text: string): void {
    this.bridge.post({ type: "event", name: "message", detail: { role: "user" } });
    if (this.outbox && !this.state.conversation.ended) return this.outbox.add(text);
    this.set({ unsent: [...this.state.unsent, text] });
    this.needSession(this.state.conversation.ended ? "fresh" : "first");
  }

  retry(key: string): void {
    this.outbox?.retry(key);
  }

  drop(key: string): void {
    this.outbox?.drop(key);
  }

  async stop(): Promise<void> {
    const turn = this.state.conversation.turns.at(-1);
    if (turn?.status === "running") await this.api?.cancel(turn.id).catch(() => undefined);
  }

  async rate(messageId: string, rating: "up" | "down"): Promise<void> {
    const before = this.state.ratings;
    this.set({ ratings: { ...before, [messageId]: rating } });
    try {
      await this.api?.rate(messageId, rating);
    } catch {
      this.set({ ratings: before });
    }
  }

  async end(): Promise<void> {
    await this.api?.end().catch(() => undefined);
  }

  get sessionId(): string | undefined {
    return this.api?.sessionId;
  }

  /** The list needs an identified visitor's token, so the first one of this browser starts a session. */
  showEarlier(): void {
    this.set({ earlier: UNREAD });
    if (this.api?.isIdentified) void this.moreEarlier();
    else this.needSession(this.api ? "fresh" : "first");
  }

  hideEarlier(): void {
    this.set({ earlier: null });
  }

  async moreEarlier(): Promise<void> {
    const { api } = this;
    const known = this.state.earlier;
    if (!api || !known) return;
    this.set({ earlier: { ...known, loading: true, failed: false } });
    const earlier = await nextPage(api, known);
    // It may have been closed meanwhile.
    if (this.state.earlier && this.api === api) this.set({ earlier });
  }

  async openEarlier(id: string): Promise<void> {
    const { api } = this;
    if (api && id !== api.sessionId) {
      try {
        const access = await api.open(id);
        this.remember({ access, visitor: access.token });
        this.enter(access);
      } catch {
        if (this.state.earlier) this.set({ earlier: { ...this.state.earlier, failed: true } });
        return;
      }
    }
    this.hideEarlier();
  }

  renew(): void {
    this.leave();
    this.remember({ access: null });
  }

  consent(): void {
    this.set({ consented: true });
    this.remember({ consented: true });
  }

  close(): void {
    this.bridge.post({ type: "close" });
  }

  // --- what the loader says

  private receive(message: ToFrame): void {
    switch (message.type) {
      case "init":
        this.set({
          config: message.config,
          locale: chosenLocale([message.locale, ...navigator.languages, message.config.widget.defaultLocale]),
          storage: message.storage,
          known: message.known,
          consented: message.consented ?? false,
        });
        if (message.outbox) this.kept = message.outbox;
        return this.enter(message.access);
      case "access":
        if (message.failure?.challenge && this.proofs++ < MOST_PROOFS) return void this.prove(message.failure.challenge);
        this.proofs = 0;
        this.set({ starting: false, closed: message.failure ? message.failure.code : null });
        if (message.known !== undefined) this.set({ known: message.known });
        if (message.failure) return this.hideEarlier();
        return this.enter(message.access);
      case "send":
        return this.send(message.text);
      case "shown":
        this.set({ shown: message.shown });
        if (message.shown) this.bridge.post({ type: "unread", count: 0 });
        this.seenTurns = this.endedTurns();
        return;
    }
  }

  private enter(access: Access | null): void {
    if (access && this.api?.sessionId === access.sessionId) return this.proceed(access);
    this.leave();
    if (!access) return;
    this.api = new Api(access, (changed) => this.remember({ access: changed, visitor: changed.token }));
    this.set({ hasSession: true });
    this.openStream(this.api);
    const { sessionId } = access;
    const user = {
      lost: (problem: Problem) => this.lost(problem),
      knows: (turnId: string) => this.state.conversation.turns.some((turn) => turn.id === turnId),
      idle: (signal: AbortSignal) => this.whenIdle(signal),
      changed: (items: Pending[]) => this.keep(sessionId, items),
    };
    this.outbox = new Outbox(this.api, user, this.kept.sessionId === sessionId ? this.kept.items : []);
    for (const text of this.state.unsent) this.outbox.add(text);
    this.set({ unsent: [] });
    if (this.state.earlier?.loading) void this.moreEarlier();
  }

  private openStream(api: Api): void {
    this.interrupted = false;
    this.stream = new SharedStream(api, {
      changed: (conversation) => this.told(conversation),
      status: (stream) => this.set({ stream }),
      failed: (problem) => this.lost(problem),
    });
  }

  /** Another token for the same session. */
  private proceed(access: Access): void {
    if (!this.api) return;
    this.api.use(access);
    if (!this.interrupted) return;
    this.stream?.close();
    this.openStream(this.api);
  }

  private leave(): void {
    this.stream?.close();
    this.outbox?.close();
    this.stream = this.outbox = this.api = null;
    this.seenTurns = 0;
    this.set({ hasSession: false, conversation: EMPTY, pending: [], stream: "live", ratings: {} });
    this.release();
  }

  private needSession(reason: Reason): void {
    if (this.state.starting) return;
    this.set({ starting: true });
    this.reason = reason;
    this.bridge.post({ type: "need-session", reason });
  }

  /** Many sessions are being started with the site's key: the gateway wants to see some work first. */
  private async prove(challenge: Challenge): Promise<void> {
    this.set({ proving: true });
    const solved = await solve(challenge);
    this.set({ proving: false });
    this.bridge.post({ type: "need-session", reason: this.reason, challenge: solved });
  }

  // --- what the session tells

  private told(conversation: Conversation): void {
    this.set({ conversation });
    this.outbox?.seen(new Set(conversation.turns.map((turn) => turn.id)));
    if (!isRunning(conversation)) this.release();
    const ended = this.endedTurns();
    if (this.state.shown) this.seenTurns = ended;
    else this.bridge.post({ type: "unread", count: ended - this.seenTurns });
  }

  private lost(problem: Problem): void {
    if (TOKEN_ENDED.has(problem.code)) {
      this.interrupted = true;
      return this.needSession("expired");
    }
    if (!GONE.has(problem.code)) return this.set({ closed: problem.code });
    // The session was deleted: the next message starts another one.
    this.renew();
  }

  private endedTurns(): number {
    return this.state.conversation.turns.filter((turn) => turn.status !== "running").length;
  }

  private whenIdle(signal: AbortSignal): Promise<void> {
    if (!isRunning(this.state.conversation) || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.idle.push(resolve);
      signal.addEventListener("abort", () => resolve());
    });
  }

  private release(): void {
    for (const resolve of this.idle.splice(0)) resolve();
  }

  // --- what the next page load has to know

  private remember(change: Partial<Remembered>): void {
    this.bridge.post({ type: "remember", change });
  }

  private keep(sessionId: string, items: Pending[]): void {
    this.set({ pending: items });
    this.kept = { sessionId, items };
    this.remember({ outbox: this.kept });
  }

  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    this.listener();
  }
}
