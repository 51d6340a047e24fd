/** Keeps the end of a growing list in view, until its reader scrolls away from the end. */

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

const NEAR_PX = 48;

export function useStick<T extends HTMLElement>(...grows: unknown[]): { ref: RefObject<T | null>; onScroll: () => void } {
  const ref = useRef<T>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (ref.current && atEnd.current) ref.current.scrollTop = ref.current.scrollHeight;
  }, grows);
  const onScroll = (): void => {
    const list = ref.current;
    if (list) atEnd.current = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
  };
  return { ref, onScroll };
}
