/** One agent: its draft, versions and knowledge, and a place to try it. */

import type { VNode } from "preact";

import type { AgentRecord } from "../shared/agents";
import type { Api } from "../shared/api";
import { type Loaded, useAction, useLoaded } from "../shared/load";
import { Field, Loading, Sure, Trouble } from "../shared/parts";
import { TryOut } from "../shared/try-out";
import { useState } from "preact/hooks";
import { BrowserKeys } from "./browser-keys";
import { Checks } from "./checks";
import { Draft } from "./draft";
import { Knowledge } from "./knowledge";
import { place } from "./route";
import { Versions } from "./versions";

const TABS = { draft: "Draft", versions: "Versions", knowledge: "Knowledge", checks: "Checks", keys: "Browser keys", try: "Try" };

export function AgentPage({ api, id, tab }: { api: Api; id: string; tab: string }): VNode {
  const agent = useLoaded((signal) => api.get<AgentRecord>(`/agents/${encodeURIComponent(id)}`, signal), [api, id]);
  return (
    <Loading of={agent}>
      {(found) => (
        <>
          <h1>{found.name}</h1>
          <p class="quiet">
            <code>{found.id}</code>{" "}
            {found.publishedVersion === null ? "was never published" : `version ${found.publishedVersion} is published`}
          </p>
          <nav class="tabs" aria-label="Parts of the agent">
            {Object.entries(TABS).map(([name, title]) => (
              <a href={place("agents", id, name)} aria-current={tab === name ? "page" : undefined}>
                {title}
              </a>
            ))}
          </nav>
          <Tab api={api} agent={found} tab={tab} loaded={agent} />
        </>
      )}
    </Loading>
  );
}

interface TabProps {
  api: Api;
  agent: AgentRecord;
  tab: string;
  loaded: Loaded<AgentRecord>;
}

function Tab({ api, agent, tab, loaded }: TabProps): VNode {
  switch (tab) {
    case "versions":
      return <Versions api={api} agent={agent} changed={loaded.reload} />;
    case "knowledge":
      return <Knowledge api={api} agentId={agent.id} />;
    case "checks":
      return <Checks api={api} agent={agent} />;
    case "keys":
      return <BrowserKeys api={api} agentId={agent.id} />;
    case "try":
      return <Try api={api} agent={agent} />;
    default:
      return (
        <>
          <Draft key={agent.revision} api={api} agent={agent} changed={loaded.reload} />
          <Remove api={api} agent={agent} />
        </>
      );
  }
}

function Try({ api, agent }: { api: Api; agent: AgentRecord }): VNode {
  const [draft, setDraft] = useState(agent.publishedVersion === null);
  return (
    <>
      <div class="choice">
        <Field label="Version">
          {(id) => (
            <select
              id={id}
              value={draft ? "draft" : "published"}
              onChange={(event) => setDraft(event.currentTarget.value === "draft")}
            >
              {agent.publishedVersion !== null && <option value="published">published ({agent.publishedVersion})</option>}
              <option value="draft">draft</option>
            </select>
          )}
        </Field>
      </div>
      <TryOut key={String(draft)} api={api} choice={{ agentId: agent.id, draft }} name={agent.name} />
    </>
  );
}

function Remove({ api, agent }: { api: Api; agent: AgentRecord }): VNode {
  const { run, refusal } = useAction(async () => {
    await api.send("DELETE", `/agents/${agent.id}`);
    location.hash = place("agents");
  });
  return (
    <section class="card">
      <h2>Delete the agent</h2>
      <p>Its sessions stay readable. Nobody can start another one.</p>
      <Trouble refusal={refusal} />
      <Sure label="Delete the agent" question={`Delete ${agent.name}?`} onSure={() => void run()} />
    </section>
  );
}
