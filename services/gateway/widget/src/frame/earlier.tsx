import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { useSurroundings } from "./context";
import type { Past } from "./history";
import { Icon } from "./icon";

/** The identified visitor's conversations with this agent, newest first, in place of the present one. */
export function Earlier(): VNode {
  const { store, state, texts } = useSurroundings();
  const { earlier } = state;
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => title.current?.focus(), []);
  return (
    <main
      class="earlier"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        // The first Escape leads back; the next one closes the window.
        event.preventDefault();
        store.hideEarlier();
      }}
    >
      <div class="bar">
        <button type="button" class="icon" aria-label={texts.back} title={texts.back} onClick={() => store.hideEarlier()}>
          <Icon name="back" />
        </button>
        <h2 ref={title} tabIndex={-1}>
          {texts.earlier}
        </h2>
      </div>
      {earlier && earlier.items.length > 0 && (
        <ul>
          {earlier.items.map((item) => (
            <li key={item.id}>
              <Entry item={item} />
            </li>
          ))}
        </ul>
      )}
      <p class="aside" role="status">
        {earlier?.failed ? texts.failedList : earlier?.loading ? texts.loading : earlier?.items.length ? "" : texts.none}
      </p>
      {earlier && !earlier.loading && (earlier.failed || earlier.cursor) && (
        <button type="button" class="more" onClick={() => void store.moreEarlier()}>
          {earlier.failed ? texts.retry : texts.more}
        </button>
      )}
    </main>
  );
}

function Entry({ item }: { item: Past }): VNode {
  const { store, state, texts } = useSurroundings();
  const isOpen = item.id === store.sessionId;
  const when = new Intl.DateTimeFormat(state.locale, { dateStyle: "medium", timeStyle: "short" });
  return (
    <button type="button" {...(isOpen && { "aria-current": "true" as const })} onClick={() => void store.openEarlier(item.id)}>
      <span class="opening" dir="auto">
        {item.opening ?? "…"}
      </span>
      <span class="aside">
        <time dateTime={item.lastMessageAt}>{when.format(new Date(item.lastMessageAt))}</time>
        {item.ended && ` · ${texts.over}`}
      </span>
    </button>
  );
}
