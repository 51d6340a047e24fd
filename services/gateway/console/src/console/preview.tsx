/** What a question finds in the draft's knowledge, with scores. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction } from "../shared/load";
import { Field, Table, Trouble } from "../shared/parts";

interface Found {
  query: string;
  passages: { title: string; heading?: string | null; text: string; score: number; used: boolean; legs: string[] }[];
  prompt: string;
}

export function Preview({ api, agentId }: { api: Api; agentId: string }): VNode {
  const [query, setQuery] = useState("");
  const [found, setFound] = useState<Found | null>(null);
  const { run, busy, refusal } = useAction(async () => {
    setFound(await api.send<Found>("POST", `/agents/${agentId}/knowledge/preview`, { query, topK: 8 }));
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        if (query.trim()) void run();
      }}
    >
      <h2>Preview</h2>
      <Field label="Question" hint="Searched in the draft with its sources as they are now.">
        {(id, described) => (
          <input id={id} {...described} value={query} onInput={(event) => setQuery(event.currentTarget.value)} />
        )}
      </Field>
      <Trouble refusal={refusal} />
      <button type="submit" disabled={busy || !query.trim()}>
        {busy ? "Searching …" : "Search"}
      </button>
      {found &&
        (found.passages.length ? (
          <Table label="Passages" head={["Score", "Passage", "Text"]}>
            {found.passages.map((passage) => (
              <tr class={passage.used ? "" : "unused"}>
                <td>
                  {passage.score.toFixed(2)}
                  {!passage.used && " (not used)"}
                </td>
                <td>{[passage.title, passage.heading].filter(Boolean).join(" · ")}</td>
                <td>{passage.text}</td>
              </tr>
            ))}
          </Table>
        ) : (
          <p>Nothing was found for “{found.query}”.</p>
        ))}
    </form>
  );
}
