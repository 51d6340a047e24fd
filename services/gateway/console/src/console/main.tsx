/** The console: agents, sessions, keys, webhooks, usage and budgets of a workspace, for people who do not use a terminal. */

import type { VNode } from "preact";

import type { Api } from "../shared/api";
import { draw } from "../shared/draw";
import { Gate } from "../shared/gate";
import { AgentPage } from "./agent";
import { Agents } from "./agents";
import { Budgets } from "./budgets";
import { Keys } from "./keys";
import { place, usePlace } from "./route";
import { SessionPage } from "./session";
import { Sessions } from "./sessions";
import { Usage } from "./usage";
import { WebhookPage } from "./webhook";
import { Webhooks } from "./webhooks";

const PARTS = { agents: "Agents", sessions: "Sessions", keys: "Keys", webhooks: "Webhooks", usage: "Usage", budgets: "Budgets" };

function Console({ api }: { api: Api }): VNode {
  const [part = "agents", id, tab] = usePlace();
  return (
    <>
      <nav class="parts" aria-label="Parts of the console">
        {Object.entries(PARTS).map(([name, title]) => (
          <a href={place(name)} aria-current={part === name ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      <Part key={`${part} ${id ?? ""}`} api={api} part={part} id={id} tab={tab} />
    </>
  );
}

function Part({ api, part, id, tab }: { api: Api; part: string; id: string | undefined; tab: string | undefined }): VNode {
  switch (part) {
    case "agents":
      return id ? <AgentPage api={api} id={id} tab={tab ?? "draft"} /> : <Agents api={api} />;
    case "sessions":
      return id ? <SessionPage api={api} id={id} /> : <Sessions api={api} />;
    case "keys":
      return <Keys api={api} />;
    case "webhooks":
      return id ? <WebhookPage api={api} id={id} /> : <Webhooks api={api} />;
    case "usage":
      return <Usage api={api} />;
    case "budgets":
      return <Budgets api={api} />;
    default:
      return <p>There is no such part of the console. Choose one above.</p>;
  }
}

draw(<Gate title="Console">{(api) => <Console api={api} />}</Gate>);
