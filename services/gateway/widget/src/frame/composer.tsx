import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useSurroundings } from "./context";
import { isRunning } from "./conversation";
import { Icon } from "./icon";
import { filled, localized } from "./texts";

/** The API's own limit for a message is larger; nobody types this much. */
const LONGEST = 8000;
/** The rest of a larger paste is left out: browsers take seconds to lay out a megabyte in a field. */
const MOST = 4 * LONGEST;

export function Composer(): VNode {
  const { store, state, texts } = useSurroundings();
  const [text, setText] = useState("");
  const field = useRef<HTMLTextAreaElement>(null);
  const widget = state.config?.widget;
  const running = isRunning(state.conversation);
  const tooLong = text.length > LONGEST;
  const placeholder =
    (widget && localized(widget.placeholder, state.locale, widget.defaultLocale)) ?? texts.placeholder;

  useEffect(() => {
    if (state.shown) field.current?.focus({ preventScroll: true });
  }, [state.shown]);
  useEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 140)}px`;
  }, [text]);

  const send = (): void => {
    if (!text.trim() || tooLong) return;
    store.send(text.trim());
    setText("");
    field.current?.focus();
  };

  return (
    <form
      class="composer"
      aria-label={placeholder}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {tooLong && (
        <p class="error" role="alert" id="too-long">
          {filled(texts.tooLong, LONGEST)}
        </p>
      )}
      <div class="line">
        <textarea
          ref={field}
          rows={1}
          {...(text && { dir: "auto" as const })}
          value={text}
          aria-label={placeholder}
          placeholder={placeholder}
          aria-invalid={tooLong}
          {...(tooLong && { "aria-describedby": "too-long" })}
          onInput={({ currentTarget: area }) => {
            if (area.value.length > MOST) area.value = area.value.slice(0, MOST);
            setText(area.value);
          }}
          onKeyDown={(event) => {
            // An input method uses Enter to choose a word.
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            send();
          }}
        />
        {running && !text.trim() ? (
          <button type="button" class="round" aria-label={texts.stop} title={texts.stop} onClick={() => void store.stop()}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="round" aria-label={texts.send} title={texts.send} disabled={!text.trim() || tooLong}>
            <Icon name="send" />
          </button>
        )}
      </div>
      {widget?.show.branding && <p class="branding">{texts.branding}</p>}
    </form>
  );
}
