/** A new source: a file, a text that is typed, or an address. */

import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";

import { type Api, Refusal } from "../shared/api";
import { useAction } from "../shared/load";
import { Field, Trouble } from "../shared/parts";

const KINDS = { file: "a file", text: "a text", url: "a web page", sitemap: "a sitemap" };
type Kind = keyof typeof KINDS;

export function AddSource({ api, path, added }: { api: Api; path: string; added: () => void }): VNode {
  const [kind, setKind] = useState<Kind>("file");
  const [title, setTitle] = useState("");
  const [text, setText] = useState("");
  const file = useRef<HTMLInputElement>(null);
  const { run, busy, refusal } = useAction(async () => {
    await api.send("POST", path, bodyOf(kind, title, text, file.current));
    setTitle("");
    setText("");
    if (file.current) file.current.value = "";
    added();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>Add a source</h2>
      <Field label="From">
        {(id) => (
          <select id={id} value={kind} onChange={(event) => setKind(event.currentTarget.value as Kind)}>
            {Object.entries(KINDS).map(([name, label]) => (
              <option value={name}>{label}</option>
            ))}
          </select>
        )}
      </Field>
      <Field label="Title" hint={kind === "text" ? "" : "Left out, it is taken from the content."}>
        {(id, described) => (
          <input id={id} {...described} value={title} onInput={(event) => setTitle(event.currentTarget.value)} />
        )}
      </Field>
      {kind === "file" && (
        <Field label="File" hint="PDF, DOCX, XLSX, HTML, Markdown, CSV or plain text, up to 25 MiB.">
          {(id, described) => <input id={id} {...described} ref={file} type="file" />}
        </Field>
      )}
      {kind === "text" && (
        <Field label="Text">
          {(id) => (
            <textarea id={id} rows={6} dir="auto" value={text} onInput={(event) => setText(event.currentTarget.value)} />
          )}
        </Field>
      )}
      {(kind === "url" || kind === "sitemap") && (
        <Field label="Address">
          {(id) => (
            <input
              id={id}
              type="url"
              placeholder="https://"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy}>
        {busy ? "Sending …" : "Add the source"}
      </button>
    </form>
  );
}

function bodyOf(kind: Kind, title: string, text: string, input: HTMLInputElement | null): unknown {
  if (kind === "text") return { kind, title, text };
  if (kind !== "file") return { kind, title, url: text.trim() };
  const file = input?.files?.[0];
  if (!file) throw new Refusal("invalid_request", 0, 0, "Choose a file first.");
  const form = new FormData();
  if (title) form.append("title", title);
  form.append("file", file);
  return form;
}
