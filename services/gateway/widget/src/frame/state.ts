/** What is drawn. The store changes it, and nothing else does. */

import type { Config, Pending } from "../protocol";
import { type Conversation, EMPTY } from "./conversation";
import type { Earlier } from "./history";
import type { StreamStatus } from "./session-stream";

export interface State {
  config: Config | null;
  locale: string;
  storage: boolean;
  shown: boolean;
  /** The site has said who the visitor is. */
  known: boolean;
  /** What is shown of the visitor's conversations instead of the present one. */
  earlier: Earlier | null;
  consented: boolean;
  hasSession: boolean;
  conversation: Conversation;
  pending: Pending[];
  /** Texts of the visitor that wait for a session. */
  unsent: string[];
  starting: boolean;
  /** The browser works on a challenge. */
  proving: boolean;
  stream: StreamStatus;
  online: boolean;
  /** Why nothing can be sent: an error code. */
  closed: string | null;
  ratings: Record<string, "up" | "down">;
}

export const START: State = {
  config: null,
  locale: "en",
  storage: true,
  shown: false,
  known: false,
  earlier: null,
  consented: false,
  hasSession: false,
  conversation: EMPTY,
  pending: [],
  unsent: [],
  starting: false,
  proving: false,
  stream: "live",
  online: navigator.onLine,
  closed: null,
  ratings: {},
};
