/** Growing pauses with jitter, so that the visitors of a gateway that comes back do not all call at once. */

const FIRST_MS = 400;
const LAST_MS = 15_000;

export class Backoff {
  private failures = 0;

  reset(): void {
    this.failures = 0;
  }

  /** Resolves after the pause, or as soon as the browser is online or visible again, or the signal aborts. */
  pause(signal: AbortSignal, atLeastMs = 0): Promise<void> {
    const full = Math.min(LAST_MS, FIRST_MS * 2 ** this.failures++);
    const ms = Math.max(atLeastMs, full * (0.5 + Math.random() / 2));
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        window.removeEventListener("online", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      window.addEventListener("online", done);
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }
}
