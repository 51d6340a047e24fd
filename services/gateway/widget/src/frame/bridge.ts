/** The frame's side of the conversation with the loader. */

import { isMarked, MARK, type ToFrame, type ToLoader } from "../protocol";

const AGAIN_MS = 500;
const TRIES = 60;

/**
 * The page that embeds the frame. Only origins of the key's list can do so (`frame-ancestors`), and only its window is
 * listened to. Its origin is fixed by its first answer.
 */
export class Bridge {
  private origin: string | undefined;
  private tries = 0;

  constructor(private readonly received: (message: ToFrame) => void) {
    window.addEventListener("message", (event: MessageEvent) => {
      if (event.source !== window.parent || !isMarked<ToFrame>(event.data)) return;
      if (this.origin === undefined && event.data.type === "init") this.origin = event.origin;
      if (event.origin === this.origin) this.received(event.data);
    });
    this.greet();
  }

  post(message: ToLoader): void {
    // Before the first answer the page's origin is unknown, so nothing but the word `ready` is sent.
    if (this.origin === undefined && message.type !== "ready") return;
    window.parent.postMessage({ ...message, mark: MARK }, this.origin ?? "*");
  }

  /** Said again until the loader answers: it may still be starting, or have been replaced. */
  private greet(): void {
    if (this.origin !== undefined || this.tries++ > TRIES || window.parent === window) return;
    this.post({ type: "ready" });
    setTimeout(() => this.greet(), AGAIN_MS);
  }
}
