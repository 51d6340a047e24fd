import type { ComponentChildren, VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Pending } from "../protocol";
import { Announcer } from "./announcer";
import { Answer } from "./answer";
import { useSurroundings } from "./context";
import { Icon } from "./icon";
import { closedText } from "./notice";
import { localized } from "./texts";

const NEAR_PX = 60;

export function Messages(): VNode {
  const { state, texts } = useSurroundings();
  const { conversation, pending, unsent, config, locale } = state;
  const widget = config?.widget;
  const greeting = widget && localized(widget.greeting, locale, widget.defaultLocale);
  const empty = !conversation.turns.length && !pending.length && !unsent.length;
  return (
    <Scroller changes={[conversation, pending, unsent]}>
      {greeting && <div class="answer greeting"><p>{greeting}</p></div>}
      {empty && <Suggestions />}
      {conversation.turns.map((turn) => (
        <>
          {turn.questions.map((text) => (
            <Question text={text} />
          ))}
          <Answer key={turn.id} turn={turn} />
        </>
      ))}
      {pending.map((item) => (
        <Question text={item.text} item={item} />
      ))}
      {unsent.map((text) => (
        <Question text={text} />
      ))}
      {conversation.ended && <p class="ended">{texts.ended}</p>}
      <Announcer />
    </Scroller>
  );
}

/** Stays at the newest message unless the visitor has scrolled up. */
function Scroller({ changes, children }: { changes: unknown[]; children: ComponentChildren }): VNode {
  const { texts } = useSurroundings();
  const area = useRef<HTMLElement>(null);
  const [away, setAway] = useState(false);
  const stuck = useRef(true);
  const toEnd = (): void => {
    if (area.current) area.current.scrollTop = area.current.scrollHeight;
  };
  useLayoutEffect(() => {
    if (stuck.current) toEnd();
  }, changes);
  useEffect(() => {
    const observer = new ResizeObserver(() => stuck.current && toEnd());
    if (area.current) observer.observe(area.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div class="scroller">
      <main
        ref={area}
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          stuck.current = scrollHeight - scrollTop - clientHeight < NEAR_PX;
          setAway(!stuck.current);
        }}
      >
        {children}
      </main>
      {away && (
        <button
          type="button"
          class="jump"
          aria-label={texts.jump}
          title={texts.jump}
          onClick={() => {
            stuck.current = true;
            toEnd();
          }}
        >
          <Icon name="jump" />
        </button>
      )}
    </div>
  );
}

function Suggestions(): VNode | null {
  const { store, state, texts } = useSurroundings();
  const widget = state.config?.widget;
  const found = widget && localized(widget.suggestions, state.locale, widget.defaultLocale);
  const consent = widget && localized(widget.consent, state.locale, widget.defaultLocale);
  if (!found?.length || (consent && !state.consented)) return null;
  return (
    <ul class="suggestions" aria-label={texts.suggestions}>
      {found.map((text) => (
        <li>
          <button type="button" onClick={() => store.send(text)}>
            {text}
          </button>
        </li>
      ))}
    </ul>
  );
}

function Question({ text, item }: { text: string; item?: Pending }): VNode {
  const { store, texts } = useSurroundings();
  return (
    <div class="question">
      <p dir="auto">{text}</p>
      {item?.state === "waiting" && <small>{item.code === "rate_limited" ? texts.rateLimited : texts.waiting}</small>}
      {item?.state === "failed" && (
        <small class="error" role="alert">
          {texts.notSent} {closedText(item.code ?? "", texts)}{" "}
          <button type="button" class="link" onClick={() => store.retry(item.key)}>
            {texts.retry}
          </button>{" "}
          <button type="button" class="link" onClick={() => store.drop(item.key)}>
            {texts.remove}
          </button>
        </small>
      )}
    </div>
  );
}
