/** What a page reads from the API: one document, or a list by its pages. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { type Api, asRefusal, type Page, type Refusal } from "./api";

export interface Loaded<T> {
  value: T | null;
  refusal: Refusal | null;
  loading: boolean;
  reload: () => void;
}

/** Reads again when one of `deps` changes. What was read before stays on the screen meanwhile. */
export function useLoaded<T>(read: (signal: AbortSignal) => Promise<T>, deps: readonly unknown[]): Loaded<T> {
  const [state, setState] = useState<{ value: T | null; refusal: Refusal | null; loading: boolean }>({
    value: null,
    refusal: null,
    loading: true,
  });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const leaving = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    read(leaving.signal).then(
      (value) => !leaving.signal.aborted && setState({ value, refusal: null, loading: false }),
      (error) =>
        !leaving.signal.aborted && setState((before) => ({ ...before, refusal: asRefusal(error), loading: false })),
    );
    return () => leaving.abort();
  }, [...deps, round]);
  const reload = useCallback(() => setRound((before) => before + 1), []);
  return { ...state, reload };
}

export interface Pages<T> extends Loaded<T[]> {
  counts: Record<string, number>;
  /** Reads the next page; null at the end. */
  more: (() => void) | null;
}

/** A list of the API. `path` has its filters; a change of it starts again. */
export function usePages<T>(api: Api, path: string): Pages<T> {
  const first = useLoaded<Page<T>>((signal) => api.page<T>(path, signal), [api, path]);
  const [later, setLater] = useState<{ of: unknown; items: T[]; next: string | null; refusal: Refusal | null }>({
    of: null,
    items: [],
    next: null,
    refusal: null,
  });
  const current = later.of === first.value ? later : { of: first.value, items: [], next: first.value?.next ?? null, refusal: null };
  const reading = useRef(false);
  const next = current.next;
  const more = useCallback(async () => {
    if (reading.current || next === null) return;
    reading.current = true;
    const glue = path.includes("?") ? "&" : "?";
    try {
      const page = await api.page<T>(`${path}${glue}cursor=${encodeURIComponent(next)}`);
      setLater({ of: first.value, items: [...current.items, ...page.items], next: page.next, refusal: null });
    } catch (error) {
      setLater({ ...current, refusal: asRefusal(error) });
    } finally {
      reading.current = false;
    }
  }, [api, path, first.value, current.items, next]);
  return {
    value: first.value && [...first.value.items, ...current.items],
    refusal: first.refusal ?? current.refusal,
    loading: first.loading,
    reload: first.reload,
    counts: first.value?.counts ?? {},
    more: next === null ? null : () => void more(),
  };
}

/** Runs something that was asked for, once at a time, and keeps what became of it. */
export function useAction<A extends unknown[]>(
  act: (...args: A) => Promise<void>,
): { run: (...args: A) => Promise<void>; busy: boolean; refusal: Refusal | null; clear: () => void } {
  const [state, setState] = useState<{ busy: boolean; refusal: Refusal | null }>({ busy: false, refusal: null });
  const running = useRef(false);
  const run = async (...args: A): Promise<void> => {
    if (running.current) return;
    running.current = true;
    setState({ busy: true, refusal: null });
    try {
      await act(...args);
      setState({ busy: false, refusal: null });
    } catch (error) {
      setState({ busy: false, refusal: asRefusal(error) });
    } finally {
      running.current = false;
    }
  };
  return { run, ...state, clear: () => setState({ busy: false, refusal: null }) };
}
