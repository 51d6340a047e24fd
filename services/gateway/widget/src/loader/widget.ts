/** The launcher and the frame on the host page, and what they need to know of each other. */

import type { Access, Config, Failure, Reason, ToFrame, ToLoader } from "../protocol";
import { isMarked, MARK } from "../protocol";
import { type Backend, Refused } from "./backend";
import { Host } from "./host";
import { Memory } from "./storage";

const AGAIN_MS = [2_000, 8_000, 30_000];

export class Widget {
  isOpen = false;
  private config: Config | undefined;
  private host: Host | undefined;
  private memory: Memory | undefined;
  private identity: string | undefined;
  private ready = false;
  private ended = false;
  private starting: Promise<void> | undefined;
  private readonly waiting: ToFrame[] = [];
  private readonly listeners = new Map<string, ((detail: unknown) => void)[]>();
  private readonly undo: (() => void)[] = [];

  constructor(
    private readonly backend: Backend,
    private readonly locale: string | undefined,
  ) {}

  /** Nothing is visible until the gateway has answered. An unreachable gateway is asked three times more. */
  async start(attempt = 0): Promise<void> {
    try {
      this.config = await this.backend.config();
    } catch (error) {
      const wait = AGAIN_MS[attempt];
      const again = error instanceof Refused && ["network", "dependency_unavailable"].includes(error.failure.code);
      if (again && wait !== undefined) setTimeout(() => void this.start(attempt + 1), wait);
      return;
    }
    if (this.ended) return;
    const { keyId, frameUrl, widget } = this.config;
    const memory = (this.memory = new Memory(`parley:${keyId}`));
    this.undo.push(memory.watch(() => this.post({ type: "access", access: memory.current.access })));
    if (this.identity) this.identify(this.identity);
    this.host = new Host(this.backend.origin + frameUrl, widget, () => this.show(!this.isOpen));
    const receive = (event: MessageEvent): void => this.receive(event);
    window.addEventListener("message", receive);
    this.undo.push(() => window.removeEventListener("message", receive));
    if (this.isOpen || memory.current.open || this.waiting.length) this.show(true);
  }

  show(open: boolean): void {
    this.isOpen = open;
    if (!this.host) return;
    this.host.show(open);
    this.memory?.update({ open });
    this.post({ type: "shown", shown: open });
    this.emit(open ? "open" : "close", undefined);
  }

  send(text: string): void {
    this.post({ type: "send", text });
    this.show(true);
  }

  /** Another visitor than before starts a conversation of their own. The same one goes on with theirs. */
  identify(identity: string | undefined): void {
    this.identity = identity;
    const { memory } = this;
    // Before the settings have come there is no memory; `start` calls again.
    if (!memory) return;
    const { access, who } = memory.current;
    if ((who || access?.identified) && who !== subjectOf(identity)) memory.forget();
    this.post({ type: "access", access: memory.current.access, known: !!identity });
  }

  on(name: string, listener: (detail: unknown) => void): void {
    this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }

  destroy(): void {
    this.ended = true;
    for (const each of this.undo) each();
    this.host?.remove();
    this.host = undefined;
  }

  private emit(name: string, detail: unknown): void {
    for (const listener of this.listeners.get(name) ?? []) {
      // A listener that throws must not stop the widget; its error reaches the page's own handlers.
      setTimeout(() => listener(detail));
    }
  }

  private post(message: ToFrame): void {
    const frame = this.host?.frame?.contentWindow;
    if (!this.ready || !frame) {
      if (message.type === "send") this.waiting.push(message);
      return;
    }
    frame.postMessage({ ...message, mark: MARK }, this.backend.origin);
  }

  private receive(event: MessageEvent): void {
    const frame = this.host?.frame?.contentWindow;
    if (event.origin !== this.backend.origin || event.source !== frame || !isMarked<ToLoader>(event.data)) return;
    const message = event.data;
    switch (message.type) {
      case "ready":
        return this.greet();
      case "need-session":
        this.starting ??= this.startSession(message).finally(() => (this.starting = undefined));
        return;
      case "remember":
        return this.memory?.update(message.change);
      case "close":
        return this.show(false);
      case "unread":
        return this.host?.badge(message.count);
      case "event":
        return this.emit(message.name, message.detail);
    }
  }

  private greet(): void {
    if (!this.config || !this.memory || !this.host) return;
    this.ready = true;
    this.host.reveal();
    this.post({
      type: "init",
      config: this.config,
      locale: this.locale ?? document.documentElement.lang ?? "",
      ...this.memory.current,
      storage: this.memory.lasts,
      known: !!this.identity,
    });
    this.post({ type: "shown", shown: this.isOpen });
    for (const message of this.waiting.splice(0)) this.post(message);
    this.emit("ready", undefined);
  }

  private async startSession({ reason, challenge }: { reason: Reason; challenge?: string | undefined }): Promise<void> {
    const { access, visitor } = this.memory?.current ?? { access: null };
    if (access && reason === "first") return this.post({ type: "access", access });
    let started: Access | null = null;
    let failure: Failure | undefined;
    try {
      started = await this.backend.startSession({
        visitorToken: access?.token ?? visitor,
        identity: this.identity,
        resume: reason === "expired",
        challenge,
      });
      this.memory?.update({ access: started, visitor: started.token, who: subjectOf(this.identity) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      failure = error.failure;
    }
    this.post({ type: "access", access: started, ...(failure && { failure }) });
  }
}

/** Whom a JWT is about. It is only compared with what an earlier page load has read; the gateway verifies the token. */
function subjectOf(identity = ""): string | undefined {
  try {
    return JSON.parse(atob(identity.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {
    return undefined;
  }
}
