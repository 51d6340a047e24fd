/** Webhooks: where the workspace's own servers are told of events. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { Choices, Field, Loading, More, ShownOnce, State, Table, Time, Trouble } from "../shared/parts";
import { place } from "./route";

export interface Webhook {
  id: string;
  url: string;
  events: string[];
  description: string;
  enabled: boolean;
  disabledReason?: string | null;
  disabledAt?: string | null;
  failingSince?: string | null;
  createdAt: string;
}

/** As in the guide. */
export const EVENTS: Record<string, string> = {
  "session.created": "a session begins",
  "session.ended": "a session ends",
  "turn.completed": "a turn is answered or cancelled",
  "turn.failed": "a turn ends without an answer",
  "message.feedback": "somebody rates an answer",
  "knowledge.indexed": "a source was read",
  "knowledge.failed": "a source could not be read",
  "agent.published": "a version is published",
  "budget.exceeded": "a budget refuses a turn",
};

export function Webhooks({ api }: { api: Api }): VNode {
  const webhooks = usePages<Webhook>(api, "/webhooks?limit=50");
  return (
    <>
      <h1>Webhooks</h1>
      <Loading of={webhooks}>
        {(found) =>
          found.length ? (
            <Table label="Webhooks" head={["Address", "State", "Events", "Description", "Created"]}>
              {found.map((webhook) => (
                <tr>
                  <td>
                    <a href={place("webhooks", webhook.id)}>{webhook.url}</a>
                  </td>
                  <td>
                    <Health of={webhook} />
                  </td>
                  <td>{webhook.events.join(", ")}</td>
                  <td>{webhook.description}</td>
                  <td>
                    <Time at={webhook.createdAt} />
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No webhook yet. Create one below, and it gets an event when something happens.</p>
          )
        }
      </Loading>
      <More of={webhooks} />
      <NewWebhook api={api} made={webhooks.reload} />
    </>
  );
}

export function Health({ of }: { of: Webhook }): VNode {
  if (!of.enabled) return <State name="disabled" />;
  return of.failingSince ? <State name="failing" /> : <State name="enabled" />;
}

function NewWebhook({ api, made }: { api: Api; made: () => void }): VNode {
  const [url, setUrl] = useState("");
  const [description, setDescription] = useState("");
  const [events, setEvents] = useState(["turn.completed", "turn.failed"]);
  const [secret, setSecret] = useState<string | null>(null);
  const { run, busy, refusal } = useAction(async () => {
    setSecret((await api.send<{ secret: string }>("POST", "/webhooks", { url, description, events })).secret);
    setUrl("");
    setDescription("");
    made();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>New webhook</h2>
      <Field label="Address" hint="An https address of your server.">
        {(id, described) => (
          <input id={id} {...described} required value={url} onInput={(event) => setUrl(event.currentTarget.value)} />
        )}
      </Field>
      <Field label="Description">
        {(id) => (
          <input
            id={id}
            value={description}
            maxLength={200}
            onInput={(event) => setDescription(event.currentTarget.value)}
          />
        )}
      </Field>
      <Choices legend="Events" of={EVENTS} chosen={events} choose={setEvents} />
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy || events.length === 0}>
        Create the webhook
      </button>
      <ShownOnce says="This is the signing secret." secret={secret} hide={() => setSecret(null)} />
    </form>
  );
}
