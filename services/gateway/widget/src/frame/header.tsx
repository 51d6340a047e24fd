import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useSurroundings } from "./context";
import { transcript } from "./conversation";
import { Icon } from "./icon";

export function Header(): VNode {
  const { store, state, texts } = useSurroundings();
  const title = state.config?.widget.title ?? state.config?.name ?? "";
  return (
    <header>
      <h1>{title}</h1>
      <Menu />
      <button type="button" class="icon" aria-label={texts.close} title={texts.close} onClick={() => store.close()}>
        <Icon name="close" />
      </button>
    </header>
  );
}

interface Entry {
  label: string;
  run(): void;
}

function Menu(): VNode {
  const { store, state, texts } = useSurroundings();
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const { conversation } = state;
  const name = state.config?.widget.title ?? state.config?.name ?? "";
  const entries: Entry[] = [{ label: texts.newChat, run: () => store.renew() }];
  if (state.known && !state.earlier) entries.push({ label: texts.earlier, run: () => store.showEarlier() });
  if (conversation.turns.length && state.config?.widget.show.download) {
    entries.push({ label: texts.download, run: () => save(transcript(conversation, texts.you, name)) });
  }
  if (state.hasSession && !conversation.ended) entries.push({ label: texts.end, run: () => void store.end() });

  useEffect(() => {
    if (!open) return;
    list.current?.querySelector("button")?.focus();
    const away = (event: Event): void => {
      if (!list.current?.contains(event.target as Node) && !button.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);

  const keys = (event: KeyboardEvent): void => {
    const buttons = [...(list.current?.querySelectorAll("button") ?? [])];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      setOpen(false);
      button.current?.focus();
    } else if (step) {
      event.preventDefault();
      buttons.at((at + step) % buttons.length)?.focus();
    }
  };

  return (
    <div class="menu" onKeyDown={keys}>
      <button
        type="button"
        class="icon"
        ref={button}
        aria-label={texts.menu}
        title={texts.menu}
        aria-haspopup="menu"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <Icon name="more" />
      </button>
      {open && (
        <div class="entries" role="menu" ref={list} aria-label={texts.menu}>
          {entries.map(({ label, run }) => (
            <button
              type="button"
              role="menuitem"
              onClick={() => {
                setOpen(false);
                button.current?.focus();
                run();
              }}
            >
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function save(text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = "conversation.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
