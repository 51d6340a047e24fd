/** A conversation as its users saw it. Answers are Markdown that becomes elements, as in the widget. */

import type { ComponentChildren, VNode } from "preact";
import { useCallback } from "preact/hooks";

import type { Conversation, Passage, Turn } from "../../../widget/src/frame/conversation";
import { Markdown, safeUrl } from "../../../widget/src/frame/markdown";
import { useStick } from "./stick";

interface Props {
  conversation: Conversation;
  label: string;
  /** What is told below an answer about its turn. */
  below?: (turn: Turn) => ComponentChildren;
}

export function Transcript({ conversation, label, below }: Props): VNode {
  const stick = useStick<HTMLDivElement>(conversation, below);
  return (
    <div class="transcript" role="log" aria-label={label} tabIndex={0} {...stick}>
      {conversation.turns.map((turn) => (
        <Exchange key={turn.id} turn={turn} below={below} />
      ))}
      {conversation.ended && <p class="quiet">The session has ended.</p>}
    </div>
  );
}

function Exchange({ turn, below }: { turn: Turn; below: Props["below"] }): VNode {
  // The same function as long as the passages are the same, so that finished blocks are not rendered again.
  const cite = useCallback(
    (marker: number) => {
      const passage = turn.passages.find((each) => each.marker === marker);
      return passage ? <Chip marker={marker} passage={passage} /> : null;
    },
    [turn.passages],
  );
  return (
    <>
      {turn.questions.map((text) => (
        <p class="question">{text}</p>
      ))}
      <article class="answer" aria-busy={turn.status === "running"}>
        {turn.tools.map((tool) => (
          <p class="aside">
            Tool <code>{tool.name}</code>: {tool.status}
          </p>
        ))}
        {turn.parts.map((part, at) => (part ? <Markdown key={at} text={part} cite={cite} /> : null))}
        {turn.status === "running" && <p class="aside">…</p>}
        {turn.status === "cancelled" && <p class="aside">Cancelled.</p>}
        {turn.filtered && <p class="aside">A guardrail has acted.</p>}
        {turn.status === "failed" && (
          <p class="aside bad">
            The turn failed. <code>{turn.errorCode}</code>
          </p>
        )}
      </article>
      {below?.(turn)}
    </>
  );
}

function Chip({ marker, passage }: { marker: number; passage: Passage }): VNode {
  const label = [passage.title, passage.heading].filter(Boolean).join(" · ");
  const url = safeUrl(passage.url);
  return url ? (
    <a class="chip" href={url.href} target="_blank" rel="noopener noreferrer nofollow" title={label} aria-label={`${marker}: ${label}`}>
      {marker}
    </a>
  ) : (
    <span class="chip" title={label}>
      {marker}
    </span>
  );
}
