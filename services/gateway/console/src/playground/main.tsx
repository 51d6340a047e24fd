/** The playground: an agent tried out, with the frames of its stream beside it. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { draw } from "../shared/draw";
import { Gate } from "../shared/gate";
import type { Api } from "../shared/api";
import { type ChosenAgent, useAgents } from "../shared/agents";
import { Field, Loading } from "../shared/parts";
import { TryOut } from "../shared/try-out";

function Playground({ api }: { api: Api }): VNode {
  const agents = useAgents(api);
  return (
    <>
      <h1 class="hidden">Playground</h1>
      <Loading of={agents}>
        {(found) =>
          found.length ? <Chosen api={api} agents={found} /> : <p>This workspace has no agent yet. Make one in the console or with the API.</p>
        }
      </Loading>
    </>
  );
}

function Chosen({ api, agents }: { api: Api; agents: ChosenAgent[] }): VNode {
  const [wanted, setWanted] = useState(agents.find((agent) => agent.version)?.id ?? agents[0]!.id);
  const [draft, setDraft] = useState(false);
  const agent = agents.find((each) => each.id === wanted) ?? agents[0]!;
  const onDraft = agent.hasDraft && (draft || !agent.version);
  return (
    <>
      <div class="choice">
        <Field label="Agent">
          {(id) => (
            <select id={id} value={agent.id} onChange={(event) => setWanted(event.currentTarget.value)}>
              {agents.map((each) => (
                <option value={each.id}>{each.name}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Version">
          {(id) => (
            <select
              id={id}
              value={onDraft ? "draft" : "published"}
              onChange={(event) => setDraft(event.currentTarget.value === "draft")}
            >
              {agent.version !== null && <option value="published">published{agent.version > 0 && ` (${agent.version})`}</option>}
              {agent.hasDraft && <option value="draft">draft</option>}
            </select>
          )}
        </Field>
      </div>
      <TryOut key={`${agent.id} ${onDraft}`} api={api} choice={{ agentId: agent.id, draft: onDraft }} name={agent.name} />
    </>
  );
}

draw(<Gate title="Playground">{(api) => <Playground api={api} />}</Gate>);
