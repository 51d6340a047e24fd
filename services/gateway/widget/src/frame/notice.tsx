import type { VNode } from "preact";

import { useSurroundings } from "./context";
import type { Texts } from "./texts";

/** One line above the composer about the connection, or why nothing can be sent. */
export function Notice(): VNode {
  const { state, texts } = useSurroundings();
  const text = state.closed
    ? closedText(state.closed, texts)
    : !state.online
      ? texts.offline
      : state.proving
        ? texts.proving
      : state.hasSession && state.stream === "reconnecting"
        ? texts.reconnecting
        : state.storage
          ? ""
          : texts.noStorage;
  return (
    <p class="notice" role="status">
      {text}
    </p>
  );
}

const BY_CODE: Record<string, keyof Texts> = {
  origin_not_allowed: "notAllowed",
  identity_required: "signIn",
  invalid_identity: "signIn",
  rate_limited: "rateLimited",
  budget_exceeded: "usedUp",
  network: "offline",
};

export function closedText(code: string, texts: Texts): string {
  return texts[BY_CODE[code] ?? "unavailable"];
}
