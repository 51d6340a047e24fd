/** The draft: its texts in fields, everything else as JSON. What the API refuses is shown beside it, by field. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { AgentRecord } from "../shared/agents";
import { type Api, parsedJson, Refusal } from "../shared/api";
import { useAction } from "../shared/load";
import { Field, Trouble } from "../shared/parts";

/** The members that have fields of their own. */
const TEXTS = { name: "Name", description: "Description", greeting: "Greeting", instructions: "Instructions" } as const;
const ROWS = { name: 1, description: 2, greeting: 2, instructions: 8 };
type Text = keyof typeof TEXTS;

type Config = Record<string, any>;

function others(config: Config): Config {
  return Object.fromEntries(Object.entries(config).filter(([name]) => !(name in TEXTS) && name !== "model"));
}

/** A merge patch that makes `before` into `after`: null removes what is no longer there. */
function patchOf(before: Config, after: Config): Config {
  const gone = Object.keys(before).filter((name) => !(name in after));
  const changed = Object.entries(after).filter(([name, value]) => JSON.stringify(before[name]) !== JSON.stringify(value));
  return { ...Object.fromEntries(gone.map((name) => [name, null])), ...Object.fromEntries(changed) };
}

export function Draft({ api, agent, changed }: { api: Api; agent: AgentRecord; changed: () => void }): VNode {
  const draft = agent.draft ?? {};
  const [texts, setTexts] = useState(
    () => Object.fromEntries(Object.keys(TEXTS).map((name) => [name, String(draft[name] ?? "")])) as Record<Text, string>,
  );
  const [model, setModel] = useState(String(draft.model?.name ?? ""));
  const [rest, setRest] = useState(() => JSON.stringify(others(draft), null, 2));
  const [saved, setSaved] = useState(false);
  const { run, busy, refusal } = useAction(async () => {
    setSaved(false);
    const given = Object.fromEntries(Object.entries(texts).filter(([name, text]) => text || draft[name] !== undefined));
    const after = { ...parsed(rest), ...given, model: { ...draft.model, name: model.trim() } };
    // Another editor's change since this page was read is answered with 409, and nothing is overwritten.
    await api.send("PATCH", `/agents/${agent.id}`, patchOf(draft, after), { "If-Match": `"${agent.revision}"` });
    setSaved(true);
    changed();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>Draft</h2>
      {(Object.entries(TEXTS) as [Text, string][]).map(([name, title]) => (
        <Field key={name} label={title}>
          {(id) => {
            const shown = { id, dir: "auto" as const, value: texts[name] };
            const change = (text: string): void => setTexts({ ...texts, [name]: text });
            return ROWS[name] === 1 ? (
              <input {...shown} onInput={(event) => change(event.currentTarget.value)} />
            ) : (
              <textarea {...shown} rows={ROWS[name]} onInput={(event) => change(event.currentTarget.value)} />
            );
          }}
        </Field>
      ))}
      <Field label="Model">
        {(id) => <input id={id} value={model} onInput={(event) => setModel(event.currentTarget.value)} />}
      </Field>
      <details>
        <summary>All other settings, as JSON</summary>
        <Field label="Other settings" hint="Tools, knowledge, guardrails, limits and the rest, as in agent.yaml.">
          {(id, described) => (
            <textarea
              id={id}
              {...described}
              class="code"
              rows={16}
              spellcheck={false}
              value={rest}
              onInput={(event) => setRest(event.currentTarget.value)}
            />
          )}
        </Field>
      </details>
      <Trouble refusal={refusal} />
      <p class="buttons">
        <button type="submit" class="primary" disabled={busy}>
          Save the draft
        </button>
        <span role="status">{saved ? "Saved." : ""}</span>
      </p>
    </form>
  );
}

function parsed(text: string): Config {
  const value = parsedJson(text, "The other settings");
  if (value && typeof value === "object" && !Array.isArray(value)) return value as Config;
  throw new Refusal("invalid_json", 0, 0, "The other settings must be an object.");
}
