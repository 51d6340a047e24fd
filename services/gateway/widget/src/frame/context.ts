/** What every part of the frame needs: its texts and the store. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";

import type { State } from "./state";
import type { Store } from "./store";
import type { Texts } from "./texts";

export interface Surroundings {
  store: Store;
  state: State;
  texts: Texts;
}

const Context = createContext<Surroundings | null>(null);
export const { Provider } = Context;

export function useSurroundings(): Surroundings {
  const found = useContext(Context);
  if (!found) throw new Error("rendered outside of the app");
  return found;
}
