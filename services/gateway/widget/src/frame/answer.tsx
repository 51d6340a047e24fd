import type { VNode } from "preact";
import { useCallback, useState } from "preact/hooks";

import { useSurroundings } from "./context";
import type { Passage, ToolCall, Turn } from "./conversation";
import { Icon } from "./icon";
import { Markdown, safeUrl } from "./markdown";
import { filled } from "./texts";

export function Answer({ turn }: { turn: Turn }): VNode {
  const { store, state, texts } = useSurroundings();
  const show = state.config?.widget.show;
  const cited = show?.citations ? turn.passages.filter((passage) => passage.marker != null) : [];
  // The same function as long as the passages are the same, so that finished blocks are not rendered again.
  const cite = useCallback(
    (marker: number) => {
      const passage = turn.passages.find((each) => each.marker === marker);
      return passage ? <Chip marker={marker} passage={passage} hidden={!show?.citations} /> : null;
    },
    [turn.passages, show?.citations],
  );
  const running = turn.status === "running";
  const text = turn.parts.filter(Boolean).join("\n\n");
  const used = new Set([...text.matchAll(/\[(\d{1,3})\]/g)].map((match) => Number(match[1])));
  const sources = cited.filter((passage) => used.has(passage.marker ?? 0));
  return (
    <article class="answer" aria-busy={running}>
      {show?.tools && turn.tools.map((tool) => <Tool key={tool.id} tool={tool} />)}
      {turn.parts.map((part, at) => (part ? <Markdown key={at} text={part} cite={cite} /> : null))}
      {running && !text && (
        <p class="thinking">
          <span class="hidden">{texts.thinking}</span>
          <i />
          <i />
          <i />
        </p>
      )}
      {turn.status === "cancelled" && <p class="aside">{texts.stopped}</p>}
      {turn.filtered && !text && <p class="aside">{texts.filtered}</p>}
      {turn.status === "failed" && (
        <p class="aside error">
          {turn.errorCode === "budget_exceeded" ? texts.usedUp : texts.failed}{" "}
          <button type="button" class="link" onClick={() => store.send(turn.questions.join("\n\n"))}>
            {texts.retry}
          </button>
        </p>
      )}
      {sources.length > 0 && <Sources passages={sources} />}
      {!running && text && <Actions turn={turn} text={text} />}
    </article>
  );
}

function Tool({ tool }: { tool: ToolCall }): VNode {
  const { texts } = useSurroundings();
  const text = { running: texts.using, ok: texts.used, error: texts.toolFailed }[tool.status];
  return <p class={`aside tool ${tool.status}`}>{filled(text, tool.name)}</p>;
}

function described(passage: Passage, page: string): string {
  return [passage.title, passage.heading, passage.page != null && filled(page, passage.page)].filter(Boolean).join(" · ");
}

function Chip({ marker, passage, hidden }: { marker: number; passage: Passage; hidden: boolean }): VNode | null {
  const { texts } = useSurroundings();
  if (hidden) return <></>;
  const label = described(passage, texts.page);
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

function Sources({ passages }: { passages: Passage[] }): VNode {
  const { texts } = useSurroundings();
  return (
    <section class="sources" aria-label={texts.sources}>
      <ol>
        {passages.map((passage) => {
          const url = safeUrl(passage.url);
          const label = described(passage, texts.page);
          return (
            <li value={passage.marker ?? 0}>
              {url ? (
                <a href={url.href} target="_blank" rel="noopener noreferrer nofollow">
                  {label} <span class="host">({url.host || url.pathname})</span>
                </a>
              ) : (
                label
              )}
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Actions({ turn, text }: { turn: Turn; text: string }): VNode {
  const { store, state, texts } = useSurroundings();
  const [copied, setCopied] = useState(false);
  const rating = turn.messageId ? state.ratings[turn.messageId] : undefined;
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => undefined,
    );
    setTimeout(() => setCopied(false), 2000);
  };
  const rate = (value: "up" | "down", label: string): VNode => (
    <button
      type="button"
      class="icon"
      aria-label={label}
      title={label}
      aria-pressed={rating === value}
      onClick={() => turn.messageId && void store.rate(turn.messageId, value)}
    >
      <Icon name={value} />
    </button>
  );
  return (
    <div class="actions">
      <button type="button" class="icon" aria-label={texts.copy} title={texts.copy} onClick={() => void copy()}>
        <Icon name={copied ? "check" : "copy"} />
      </button>
      {state.config?.widget.show.feedback && turn.messageId && rate("up", texts.good)}
      {state.config?.widget.show.feedback && turn.messageId && rate("down", texts.bad)}
      <span class="hidden" role="status">
        {copied ? texts.copied : rating ? texts.thanks : ""}
      </span>
    </div>
  );
}
