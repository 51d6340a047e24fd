/** What is stored of a session's turns, read once they have ended. */

import { useEffect, useRef, useState } from "preact/hooks";

import type { Turn } from "../../../widget/src/frame/conversation";
import { type Api, asRefusal, type Refusal } from "../shared/api";

const AT_ONCE = 25;
const ENDED = new Set(["completed", "cancelled", "failed"]);

export interface Place {
  title: string;
  heading?: string;
  url?: string;
  page?: number;
}

export interface Found extends Place {
  text: string;
  score: number;
  marker?: number;
}

export interface Message {
  role: "user" | "assistant" | "tool";
  content?: string;
  toolCalls?: { id: string; name: string; arguments: string }[];
  toolCallId?: string;
  failed?: boolean;
  citations?: { marker: number; passage: Place }[];
}

export interface Receipt {
  turn: {
    id: string;
    status: string;
    attempt: number;
    agentId: string;
    agentVersion: number;
    finishReason?: string;
    usage?: {
      promptTokens: number;
      completionTokens: number;
      cachedTokens?: number;
      reasoningTokens?: number;
      estimated?: boolean;
    };
    timing?: { queuedMs: number; firstTokenMs?: number; totalMs: number };
    error?: { code: string; detail?: string; title?: string };
    guardrails?: { stage: string; action: string; name: string }[];
    requestId?: string;
    traceId?: string;
  };
  messages: Message[];
  retrievals: { query: string; passages: Found[] }[];
  gap?: string;
  feedback?: { rating: string; comment?: string; givenAt: string };
}

export interface Receipts {
  of: ReadonlyMap<string, Receipt>;
  refusal: Refusal | null;
  again: () => void;
}

/** `turns`: those of the conversation, in order. Each page is asked for once. */
export function useReceipts(api: Api, path: string, turns: Turn[]): Receipts {
  const [receipts, setReceipts] = useState<ReadonlyMap<string, Receipt>>(new Map());
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [round, setRound] = useState(0);
  const asked = useRef(new Set<string>());
  const wanted = turns.find((turn) => turn.status !== "running" && !asked.current.has(turn.id));
  useEffect(() => {
    if (!wanted) return;
    const leaving = new AbortController();
    const take = (items: Receipt[]): void => {
      // Also a turn that is not in its page, so that it is not asked for again and again.
      asked.current.add(wanted.id);
      const ended = items.filter(({ turn }) => ENDED.has(turn.status));
      for (const { turn } of ended) asked.current.add(turn.id);
      setReceipts((before) => new Map([...before, ...ended.map((each) => [each.turn.id, each] as const)]));
    };
    setRefusal(null);
    api.page<Receipt>(`${path}/events?stored=true&limit=${AT_ONCE}&cursor=${wanted.number}`, leaving.signal).then(
      ({ items }) => !leaving.signal.aborted && take(items),
      (error) => !leaving.signal.aborted && setRefusal(asRefusal(error)),
    );
    return () => leaving.abort();
  }, [api, path, wanted?.id, round]);
  return { of: receipts, refusal, again: () => setRound((before) => before + 1) };
}
