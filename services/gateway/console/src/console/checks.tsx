/** An agent's checks: the suite as JSON, and its runs with what failed. */

import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { AgentRecord } from "../shared/agents";
import { type Api, parsedJson } from "../shared/api";
import { useAction, useLoaded, usePages } from "../shared/load";
import { count, Field, Loading, More, State, Table, Time, Trouble } from "../shared/parts";

interface Suite {
  checks: unknown[];
  revision: number;
}

interface Run {
  id: string;
  version: number;
  state: string;
  total: number;
  passed: number;
  failed: number;
  createdAt: string;
  results?: { name: string; state: string; before?: string | null; failures: { step: number; message: string }[] }[];
}

const LOOK_AGAIN_MS = 1500;
const EXAMPLE = '[{"name": "opening hours", "steps": [{"user": "When do you open?", "expect": [{"contains": "11"}]}]}]';

export function Checks({ api, agent }: { api: Api; agent: AgentRecord }): VNode {
  const path = `/agents/${agent.id}/checks`;
  const suite = useLoaded((signal) => api.get<Suite>(path, signal), [api, path]);
  const runs = usePages<Run>(api, `${path}/runs?limit=20`);
  const [shown, setShown] = useState<string | null>(null);
  const start = useAction(async (target: { draft: true } | { version: number }) => {
    setShown((await api.send<Run>("POST", `${path}/run`, target)).id);
    runs.reload();
  });
  return (
    <>
      <h2>Checks</h2>
      <p>A check is a conversation with what its answers must hold. Run them before you publish.</p>
      <div class="buttons">
        <button type="button" disabled={start.busy} onClick={() => void start.run({ draft: true })}>
          Check the draft
        </button>
        {agent.publishedVersion !== null && (
          <button type="button" disabled={start.busy} onClick={() => void start.run({ version: agent.publishedVersion! })}>
            Check version {agent.publishedVersion}
          </button>
        )}
      </div>
      <Trouble refusal={start.refusal} />
      {shown && <Results key={shown} api={api} path={`${path}/runs/${shown}`} ended={runs.reload} />}
      <Loading of={runs}>
        {(found) => found.length === 0 ? <p>No run yet. Save checks below, then run them with the button above.</p> : (
          <Table label="Runs" head={["Started", "Of", "State", "Passed", "Failed", ""]}>
            {found.map((run) => (
              <tr>
                <td>
                  <Time at={run.createdAt} />
                </td>
                <td>{run.version ? `version ${run.version}` : "draft"}</td>
                <td>
                  <State name={run.state} />
                </td>
                <td>{count.format(run.passed)}</td>
                <td>{count.format(run.failed)}</td>
                <td>
                  <button type="button" onClick={() => setShown(run.id)}>
                    Results
                  </button>
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Loading>
      <More of={runs} />
      <Loading of={suite}>{(found) => <SuiteForm key={found.revision} api={api} path={path} suite={found} saved={suite.reload} />}</Loading>
    </>
  );
}

/** Read again until the run has ended. */
function Results({ api, path, ended }: { api: Api; path: string; ended: () => void }): VNode {
  const run = useLoaded((signal) => api.get<Run>(path, signal), [api, path]);
  const state = run.value?.state;
  useEffect(() => {
    if (state !== "running") return;
    const timer = setInterval(run.reload, LOOK_AGAIN_MS);
    return () => {
      clearInterval(timer);
      ended();
    };
  }, [state]);
  return (
    <section class="card" aria-label="Results">
      <h2>Results</h2>
      <Loading of={run}>
        {(found) => (
          <Table label="Results of the run" head={["Check", "State", "Before", "Why"]}>
            {(found.results ?? []).map((result) => (
              <tr>
                <td>{result.name}</td>
                <td>
                  <State name={result.state} />
                </td>
                <td>{result.before ?? ""}</td>
                <td>
                  {result.failures.map((failure) => (
                    <div>
                      step {failure.step}: {failure.message}
                    </div>
                  ))}
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Loading>
    </section>
  );
}

function SuiteForm({ api, path, suite, saved }: { api: Api; path: string; suite: Suite; saved: () => void }): VNode {
  const [text, setText] = useState(() => JSON.stringify(suite.checks, null, 2));
  const { run, busy, refusal } = useAction(async () => {
    // Another editor's change since this page was read is answered with 409, and nothing is overwritten.
    await api.send("PUT", path, { checks: parsedJson(text, "The checks") }, { "If-Match": `"${suite.revision}"` });
    saved();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>The suite</h2>
      <Field label="Checks, as JSON" hint={`As in agent.yaml, for example ${EXAMPLE}`}>
        {(id, described) => (
          <textarea
            id={id}
            {...described}
            class="code"
            rows={16}
            spellcheck={false}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy}>
        Save the checks
      </button>
    </form>
  );
}
