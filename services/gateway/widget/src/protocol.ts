/** What the loader and the frame say to each other by postMessage, and the shapes of the public API that both use. */

export type Localized<T> = Partial<Record<string, T>>;

/** `widget` of `GET /chat/widget/config`. Every member has a value there. */
export interface WidgetSettings {
  theme: { mode: "auto" | "light" | "dark"; accent: string; radius: number; font: "system" | "serif" | "mono" };
  position: "right" | "left";
  offsetX: number;
  offsetY: number;
  zIndex: number;
  launcher: { label: string | null; icon: "chat" | "help" };
  title: string | null;
  greeting: Localized<string>;
  suggestions: Localized<string[]>;
  consent: Localized<string>;
  placeholder: Localized<string>;
  show: { citations: boolean; tools: boolean; feedback: boolean; download: boolean; branding: boolean };
  defaultLocale: string;
}

export interface Config {
  keyId: string;
  agentId: string;
  name: string;
  widget: WidgetSettings;
  identityRequired: boolean;
  frameUrl: string;
}

/** ALTCHA's, version 2: proof of work with PBKDF2. */
export interface Challenge {
  parameters: { cost: number; keyLength: number; keyPrefix: string; nonce: string; salt: string };
  signature: string;
}

/** A conversation that the frame may use. */
export interface Access {
  token: string;
  expiresAt: string;
  sessionId: string;
  identified: boolean;
}

/** A message that the gateway has not yet accepted. */
export interface Pending {
  key: string;
  text: string;
  /** `waiting`: it is sent again by itself. `failed`: only if the visitor asks. */
  state: "sending" | "waiting" | "accepted" | "failed";
  code: string | null;
  retryAfterS: number;
  turnId: string | null;
}

/** What a page load leaves to the next one, in the storage of the host page. */
export interface Remembered {
  access: Access | null;
  /** The newest token of the visitor, kept after a conversation has ended. */
  visitor?: string;
  /** The `sub` of the identity that the conversation was started with. */
  who?: string | undefined;
  open?: boolean;
  consented?: boolean;
  outbox?: { sessionId: string; items: Pending[] };
}

/** What went wrong in the loader's own calls, for the frame to show. `code` is one of the API's error codes. */
export interface Failure {
  code: string;
  retryAfterS: number;
  /** What the frame has to solve before a session is started. */
  challenge?: Challenge | undefined;
}

export type Reason = "first" | "fresh" | "expired";

/** `known`: the site has said who the visitor is. */
export type ToFrame =
  | ({ type: "init"; config: Config; locale: string; storage: boolean; known: boolean } & Remembered)
  | { type: "access"; access: Access | null; known?: boolean; failure?: Failure }
  | { type: "send"; text: string }
  | { type: "shown"; shown: boolean };

export type ToLoader =
  | { type: "ready" }
  /** The frame needs a session: its first, a new one in place of the present one, or a new token for the same one. */
  | { type: "need-session"; reason: Reason; challenge?: string | undefined }
  /** Browsers may deny the frame a storage of its own, so the loader keeps what the next page load has to know. */
  | { type: "remember"; change: Partial<Remembered> }
  | { type: "close" }
  | { type: "unread"; count: number }
  | { type: "event"; name: string; detail: unknown };

/** Marks the messages that are ours. Other scripts post messages too. */
export const MARK = "parley-1";

export type Marked<T> = T & { mark: typeof MARK };

export function isMarked<T>(data: unknown): data is Marked<T> {
  return typeof data === "object" && data !== null && (data as { mark?: unknown }).mark === MARK;
}
