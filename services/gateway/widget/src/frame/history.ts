/** The conversations that an identified visitor has had, as the gateway lists them. */

import type { Api } from "./api";

export interface Past {
  id: string;
  /** How it began. Null where the text has been erased. */
  opening: string | null;
  lastMessageAt: string;
  ended: boolean;
}

export interface Earlier {
  items: Past[];
  cursor: string | null;
  loading: boolean;
  failed: boolean;
}

export const UNREAD: Earlier = { items: [], cursor: null, loading: true, failed: false };

/** `known` and the page after it. Sessions in which nothing was said are left out. */
export async function nextPage(api: Api, known: Earlier): Promise<Earlier> {
  try {
    const { data, pagination } = await api.earlier(known.cursor);
    const ids = new Set(known.items.map((item) => item.id));
    const items = data.filter((each) => each.turnCount > 0 && !ids.has(each.id)).map(({ id, opening, status, ...times }) => ({
      id,
      opening,
      lastMessageAt: times.lastMessageAt ?? times.createdAt,
      ended: status === "ended",
    }));
    return { items: [...known.items, ...items], cursor: pagination.nextCursor, loading: false, failed: false };
  } catch {
    return { ...known, loading: false, failed: true };
  }
}
