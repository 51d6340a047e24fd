/** The list of agents, and the form that makes one. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { AgentRecord } from "../shared/agents";
import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { Field, Loading, More, Table, Time, Trouble } from "../shared/parts";
import { place } from "./route";

export function Agents({ api }: { api: Api }): VNode {
  const agents = usePages<AgentRecord>(api, "/agents?limit=50");
  return (
    <>
      <h1>Agents</h1>
      <Loading of={agents}>
        {(found) =>
          found.length ? (
            <Table label="Agents" head={["Name", "Slug", "Published", "Changed"]}>
              {found.map((agent) => (
                <tr>
                  <td>
                    <a href={place("agents", agent.id)}>{agent.name}</a>
                  </td>
                  <td>
                    <code>{agent.slug}</code>
                  </td>
                  <td>{agent.publishedVersion === null ? "not yet" : `version ${agent.publishedVersion}`}</td>
                  <td>
                    <Time at={agent.updatedAt} />
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No agent yet. Create one below.</p>
          )
        }
      </Loading>
      <More of={agents} />
      <NewAgent api={api} />
    </>
  );
}

function NewAgent({ api }: { api: Api }): VNode {
  const [name, setName] = useState("");
  const [model, setModel] = useState("");
  const [instructions, setInstructions] = useState("");
  const { run, busy, refusal } = useAction(async () => {
    const draft = { name: name.trim(), instructions, model: { name: model.trim() } };
    const made = await api.send<AgentRecord>("POST", "/agents", draft);
    location.hash = place("agents", made.id);
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>New agent</h2>
      <Field label="Name">
        {(id) => <input id={id} value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />}
      </Field>
      <Field label="Model" hint="A model's name at the workers' model server. What make up runs has demo/extractive.">
        {(id, described) => (
          <input id={id} {...described} value={model} onInput={(event) => setModel(event.currentTarget.value)} />
        )}
      </Field>
      <Field label="Instructions">
        {(id) => (
          <textarea
            id={id}
            rows={4}
            dir="auto"
            value={instructions}
            onInput={(event) => setInstructions(event.currentTarget.value)}
          />
        )}
      </Field>
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy || !name.trim() || !model.trim()}>
        Create the agent
      </button>
    </form>
  );
}
