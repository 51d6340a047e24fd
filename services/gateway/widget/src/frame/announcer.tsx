import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useSurroundings } from "./context";

const SENTENCE = /^[\s\S]*[.!?。！？।؟](?=\s|$)/;

/**
 * Tells screen readers the running answer sentence by sentence. A live region around the answer itself would repeat the
 * text with every token.
 */
export function Announcer(): VNode {
  const { state } = useSurroundings();
  const turn = state.conversation.turns.at(-1);
  const told = useRef({ turn: "", length: 0 });
  const [said, setSaid] = useState("");
  const text = turn?.parts.join(" ") ?? "";
  useEffect(() => {
    if (!turn) return;
    if (told.current.turn !== turn.id) {
      // An answer that had ended before the frame opened is there to be read, not to be told.
      told.current = { turn: turn.id, length: turn.status === "running" ? 0 : text.length };
    }
    const rest = text.slice(told.current.length);
    const next = turn.status === "running" ? (SENTENCE.exec(rest)?.[0] ?? "") : rest;
    if (!next.trim()) return;
    told.current.length += next.length;
    setSaid(next.replace(/[*_`#>|]|\[\d+\]/g, ""));
  }, [text, turn?.status]);
  return (
    <div class="hidden" aria-live="polite">
      {said}
    </div>
  );
}
