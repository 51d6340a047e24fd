/** Publishing, the list of versions, what changed between them, and the way back. */

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { AgentRecord } from "../shared/agents";
import type { Api } from "../shared/api";
import { useAction, useLoaded, usePages } from "../shared/load";
import { Field, Loading, More, State, Sure, Table, Time, Trouble } from "../shared/parts";

const POLL_MS = 1500;

interface Version {
  number: number;
  state: string;
  note: string;
  passageCount: number;
  createdAt: string;
  publishedAt: string | null;
  reason: string | null;
}

interface Change {
  field: string;
  before: unknown;
  after: unknown;
}

interface Props {
  api: Api;
  agent: AgentRecord;
  changed: () => void;
}

export function Versions({ api, agent, changed }: Props): VNode {
  const versions = usePages<Version>(api, `/agents/${agent.id}/versions?limit=50`);
  const [compared, setCompared] = useState<number | null>(null);
  const preparing = versions.value?.some((version) => version.state === "preparing") ?? false;
  const published = versions.value?.find((version) => version.state === "published")?.number ?? null;
  useEffect(() => {
    if (!preparing) return;
    const timer = setInterval(versions.reload, POLL_MS);
    return () => clearInterval(timer);
  }, [preparing, versions.reload]);
  useEffect(() => {
    // A version that was being prepared is published now: the page's heading says so too.
    if (published !== null && published > (agent.publishedVersion ?? 0)) changed();
  }, [published]);
  const back = useAction(async (number: number) => {
    await api.send("POST", `/agents/${agent.id}/rollback`, { version: number });
    changed();
    versions.reload();
  });
  return (
    <>
      <Publish api={api} agent={agent} done={versions.reload} />
      <h2>Versions</h2>
      <Trouble refusal={back.refusal} />
      <Loading of={versions}>
        {(found) =>
          found.length ? (
            <Table label="Versions" head={["Version", "State", "Note", "Published", ""]}>
              {found.map((version) => (
                <tr>
                  <td>
                    {version.number}
                    {version.number === agent.publishedVersion && <strong> in use</strong>}
                  </td>
                  <td>
                    <State name={version.state} /> {version.reason}
                  </td>
                  <td>{version.note}</td>
                  <td>
                    <Time at={version.publishedAt} />
                  </td>
                  <td>
                    <div class="buttons">
                      <button
                        type="button"
                        aria-label={`Compare version ${version.number} with the draft`}
                        onClick={() => setCompared(version.number)}
                      >
                        Compare
                      </button>
                      {version.state === "published" && version.number !== agent.publishedVersion && (
                        <Sure
                          label={`Use version ${version.number}`}
                          question="New sessions get it."
                          onSure={() => void back.run(version.number)}
                        />
                      )}
                    </div>
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>Nothing was published yet. Publish the draft above, so that sessions can use it.</p>
          )
        }
      </Loading>
      <More of={versions} />
      {compared !== null && <Diff key={compared} api={api} agentId={agent.id} number={compared} numbers={versions.value ?? []} />}
    </>
  );
}

function Publish({ api, agent, done }: { api: Api; agent: AgentRecord; done: () => void }): VNode {
  const [note, setNote] = useState("");
  const [requireChecks, setRequireChecks] = useState(false);
  const [made, setMade] = useState<number | null>(null);
  const { run, busy, refusal } = useAction(async () => {
    const version = await api.send<Version>("POST", `/agents/${agent.id}/publish`, { note, requireChecks });
    setMade(version.number);
    setNote("");
    done();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>Publish the draft</h2>
      <Field label="Note">
        {(id) => <input id={id} value={note} maxLength={2000} onInput={(event) => setNote(event.currentTarget.value)} />}
      </Field>
      <label class="check">
        <input type="checkbox" checked={requireChecks} onChange={(event) => setRequireChecks(event.currentTarget.checked)} />{" "}
        Only if its checks pass
      </label>
      <Trouble refusal={refusal} />
      <p class="buttons">
        <button type="submit" class="primary" disabled={busy}>
          Publish
        </button>
        <span role="status">{made === null ? "" : `Version ${made} is on its way.`}</span>
      </p>
    </form>
  );
}

interface DiffProps {
  api: Api;
  agentId: string;
  number: number;
  numbers: Version[];
}

function Diff({ api, agentId, number, numbers }: DiffProps): VNode {
  const [against, setAgainst] = useState(0);
  // Told from the version to the other one: what the draft would change comes as it would change.
  const changes = useLoaded(
    (signal) => api.get<Change[]>(`/agents/${agentId}/versions/${against}/diff?against=${number}`, signal),
    [api, agentId, number, against],
  );
  return (
    <section class="card" aria-label={`Changes of version ${number}`}>
      <h2>From version {number} to …</h2>
      <Field label="Compared with">
        {(id) => (
          <select id={id} value={against} onChange={(event) => setAgainst(Number(event.currentTarget.value))}>
            <option value={0}>the draft</option>
            {numbers
              .filter((other) => other.number !== number)
              .map((other) => (
                <option value={other.number}>version {other.number}</option>
              ))}
          </select>
        )}
      </Field>
      <Loading of={changes}>
        {(found) =>
          found.length ? (
            <Table label="Changes" head={["Setting", "Before", "After"]}>
              {found.map((change) => (
                <tr>
                  <td>
                    <code>{change.field}</code>
                  </td>
                  <td>
                    <pre class="before">{shown(change.before)}</pre>
                  </td>
                  <td>
                    <pre class="after">{shown(change.after)}</pre>
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>Nothing differs.</p>
          )
        }
      </Loading>
    </section>
  );
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
