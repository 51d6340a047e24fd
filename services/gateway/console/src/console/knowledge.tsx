/** What an agent knows: its sources and their states, a preview of what a question finds, and the gaps. */

import type { VNode } from "preact";
import { useEffect } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { count, Loading, More, State, Sure, Table, Time, Trouble } from "../shared/parts";
import { AddSource } from "./add-source";
import { Gaps } from "./gaps";
import { Preview } from "./preview";

const POLL_MS = 1500;

interface Source {
  id: string;
  kind: string;
  title: string;
  state: string;
  fileName: string | null;
  url: string | null;
  passages: number;
  reason: string | null;
  updatedAt: string;
}

export function Knowledge({ api, agentId }: { api: Api; agentId: string }): VNode {
  const path = `/agents/${agentId}/knowledge/sources`;
  const sources = usePages<Source>(api, `${path}?limit=100`);
  const reading = sources.value?.some(({ state }) => state === "pending" || state === "processing") ?? false;
  useEffect(() => {
    if (!reading) return;
    const timer = setInterval(sources.reload, POLL_MS);
    return () => clearInterval(timer);
  }, [reading, sources.reload]);
  const change = useAction(async (method: string, target: string) => {
    await api.send(method, target);
    sources.reload();
  });
  return (
    <>
      <h2>Sources</h2>
      <p class="quiet" role="status">
        {Object.entries(sources.counts)
          .filter(([, number]) => number > 0)
          .map(([state, number]) => `${count.format(number)} ${state}`)
          .join(", ")}
      </p>
      <Trouble refusal={change.refusal} />
      <Loading of={sources}>
        {(found) =>
          found.length ? (
            <Table label="Sources" head={["Title", "Kind", "State", "Passages", "Changed", ""]}>
              {found.map((source) => (
                <tr>
                  <td>{source.title || source.fileName || source.url || source.id}</td>
                  <td>{source.kind}</td>
                  <td>
                    <State name={source.state} /> {source.reason}
                  </td>
                  <td>{count.format(source.passages)}</td>
                  <td>
                    <Time at={source.updatedAt} />
                  </td>
                  <td>
                    <div class="buttons">
                      {(source.state === "failed" || source.kind === "url" || source.kind === "sitemap") && (
                        <button type="button" onClick={() => void change.run("POST", `${path}/${source.id}/retry`)}>
                          Read again
                        </button>
                      )}
                      <Sure
                        label="Delete"
                        question="Published versions keep it. Delete it from the draft?"
                        onSure={() => void change.run("DELETE", `${path}/${source.id}`)}
                      />
                    </div>
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No source yet. Add a document, a text or an address below; answers use it once the agent is published again.</p>
          )
        }
      </Loading>
      <More of={sources} />
      <AddSource api={api} path={path} added={sources.reload} />
      <Preview api={api} agentId={agentId} />
      <Gaps api={api} agentId={agentId} />
    </>
  );
}
