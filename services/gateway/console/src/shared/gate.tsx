/** The frame of both pages: their header, and the field that a key is pasted into. */

import type { ComponentChildren, VNode } from "preact";
import { useMemo, useState } from "preact/hooks";

import { Api, asRefusal, type Refusal } from "./api";
import { Field, Trouble } from "./parts";

const ENDED = "The gateway no longer takes this key: it was revoked or has expired. Paste another one.";

const NAMES: Record<string, string> = { playground: "Playground", console: "Console" };

/** The other pages that this gateway has, by their paths. It writes them into the document. */
function others(title: string): string[] {
  const pages = document.getElementById("parley")?.dataset.pages ?? "";
  return pages.split(" ").filter((page) => page && page !== title.toLowerCase());
}

interface GateProps {
  title: string;
  children: (api: Api) => ComponentChildren;
}

/** The key is state of this component: a reload of the page forgets it, and it is never stored. */
export function Gate({ title, children }: GateProps): VNode {
  const [key, setKey] = useState<string | null>(null);
  const [ended, setEnded] = useState(false);
  const leave = (because: boolean): void => {
    setKey(null);
    setEnded(because);
  };
  const api = useMemo(() => (key === null ? null : new Api(key, () => leave(true))), [key]);
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header>
        <a class="brand" href="/">
          Parley
        </a>
        <span class="where">{title}</span>
        <nav aria-label="Site">
          {others(title).map((page) => (
            <a href={`/${page}`}>{NAMES[page] ?? page}</a>
          ))}
          <a href="/docs">Guides</a>
          <a href="/docs/reference">API reference</a>
        </nav>
        {api && (
          <button type="button" class="end" onClick={() => leave(false)}>
            Forget the key
          </button>
        )}
      </header>
      <main id="content" tabIndex={-1}>
        {api ? children(api) : <KeyForm title={title} ended={ended} use={setKey} />}
      </main>
    </>
  );
}

function KeyForm({ title, ended, use }: { title: string; ended: boolean; use: (key: string) => void }): VNode {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const tried = async (): Promise<void> => {
    const key = text.trim();
    if (!key || busy) return;
    setBusy(true);
    try {
      await new Api(key).page("/agents?limit=1");
      use(key);
    } catch (error) {
      const found = asRefusal(error);
      // The key is good; the parts of the page that it does not open say so.
      if (found.code === "insufficient_scope") return use(key);
      setRefusal(found);
      setBusy(false);
    }
  };
  return (
    <form
      class="gate"
      onSubmit={(event) => {
        event.preventDefault();
        void tried();
      }}
    >
      <h1>{title}</h1>
      {ended && !refusal && (
        <p class="trouble" role="alert">
          {ENDED}
        </p>
      )}
      <Trouble refusal={refusal} />
      <Field label="Secret key" hint="It stays in this page's memory: it is not stored, and a reload forgets it.">
        {(id, described) => (
          <input
            id={id}
            {...described}
            type="password"
            autoComplete="off"
            spellcheck={false}
            placeholder="parley_sk_…"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      <button type="submit" class="primary" disabled={busy || !text.trim()}>
        {busy ? "Asking …" : "Use this key"}
      </button>
      <p class="hint">
        <code>make up</code> prints a key and keeps it in <code>.parley/key</code>. On another server, its operator gives you
        one. <a href="/docs/keys">What a key can do</a>
      </p>
    </form>
  );
}
