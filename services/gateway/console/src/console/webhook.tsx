/** One webhook: whether it is well, its deliveries, and what can be done about them. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { type Api, query } from "../shared/api";
import { type Loaded, useAction, useLoaded, usePages } from "../shared/load";
import { count, Field, Loading, More, ShownOnce, State, Sure, Table, Time, Trouble } from "../shared/parts";
import { place } from "./route";
import { Health, type Webhook } from "./webhooks";

interface Delivery {
  id: string;
  type: string;
  state: string;
  attempts: number;
  createdAt: string;
  nextAttemptAt?: string | null;
  status?: number | null;
  error?: string | null;
}

export function WebhookPage({ api, id }: { api: Api; id: string }): VNode {
  const path = `/webhooks/${encodeURIComponent(id)}`;
  const webhook = useLoaded((signal) => api.get<Webhook>(path, signal), [api, path]);
  return (
    <Loading of={webhook}>
      {(found) => (
        <>
          <h1>Webhook</h1>
          <p>
            <code>{found.url}</code> <Health of={found} />
          </p>
          {found.disabledReason && (
            <p>
              It was disabled <Time at={found.disabledAt} />: {found.disabledReason}
            </p>
          )}
          {found.failingSince && (
            <p>
              No delivery has succeeded since <Time at={found.failingSince} />.
            </p>
          )}
          <p class="quiet">{found.events.join(", ")}</p>
          <Actions api={api} path={path} webhook={found} loaded={webhook} />
          <Deliveries api={api} path={path} />
        </>
      )}
    </Loading>
  );
}

interface ActionsProps {
  api: Api;
  path: string;
  webhook: Webhook;
  loaded: Loaded<Webhook>;
}

function Actions({ api, path, webhook, loaded }: ActionsProps): VNode {
  const [secret, setSecret] = useState<string | null>(null);
  const turn = useAction(async () => {
    await api.send("PATCH", path, { enabled: !webhook.enabled });
    loaded.reload();
  });
  const rotate = useAction(async () => {
    setSecret((await api.send<{ secret: string }>("POST", `${path}/rotate-secret`, {})).secret);
  });
  const remove = useAction(async () => {
    await api.send("DELETE", path);
    location.hash = place("webhooks");
  });
  return (
    <section class="card">
      <h2>Change it</h2>
      <Trouble refusal={turn.refusal ?? rotate.refusal ?? remove.refusal} />
      <div class="buttons">
        <button type="button" disabled={turn.busy} onClick={() => void turn.run()}>
          {webhook.enabled ? "Disable it" : "Enable it"}
        </button>
        <Sure
          label="Replace the secret"
          question="Deliveries are signed with the old secret too for a day."
          onSure={() => void rotate.run()}
        />
        <Sure label="Delete it" question="Its deliveries go with it." onSure={() => void remove.run()} />
      </div>
      <ShownOnce says="This is the new signing secret." secret={secret} hide={() => setSecret(null)} />
    </section>
  );
}

function Deliveries({ api, path }: { api: Api; path: string }): VNode {
  const [state, setState] = useState("");
  const deliveries = usePages<Delivery>(api, `${path}/deliveries${query({ state, limit: 50 })}`);
  const [said, setSaid] = useState("");
  const test = useAction(async () => {
    await api.send("POST", `${path}/test`);
    setSaid("A test event is on its way.");
    deliveries.reload();
  });
  const replay = useAction(async (event?: string) => {
    const one = event ? `/deliveries/${event}` : "";
    const { replayed, more } = await api.send<{ replayed: number; more?: boolean }>("POST", `${path}${one}/replay`);
    setSaid(`${count.format(replayed)} sent again.${more ? " There are more dead letters: repeat it." : ""}`);
    deliveries.reload();
  });
  return (
    <>
      <h2>Deliveries</h2>
      <div class="choice">
        <Field label="State">
          {(id) => (
            <select id={id} value={state} onChange={(event) => setState(event.currentTarget.value)}>
              <option value="">any</option>
              <option value="pending">pending</option>
              <option value="delivered">delivered</option>
              <option value="dead">dead</option>
            </select>
          )}
        </Field>
      </div>
      <div class="buttons">
        <button type="button" disabled={test.busy} onClick={() => void test.run()}>
          Send a test event
        </button>
        <button type="button" disabled={replay.busy} onClick={() => void replay.run()}>
          Send dead letters again
        </button>
        <button type="button" onClick={deliveries.reload}>
          Look again
        </button>
      </div>
      <p role="status">{said}</p>
      <Trouble refusal={test.refusal ?? replay.refusal} />
      <Loading of={deliveries}>
        {(found) =>
          found.length ? (
            <Table label="Deliveries" head={["Event", "State", "Attempts", "Answer", "Created", "Next attempt", ""]}>
              {found.map((each) => (
                <tr>
                  <td>
                    {each.type} <code>{each.id}</code>
                  </td>
                  <td>
                    <State name={each.state} />
                  </td>
                  <td>{count.format(each.attempts)}</td>
                  <td>{each.error ?? each.status ?? ""}</td>
                  <td>
                    <Time at={each.createdAt} />
                  </td>
                  <td>{each.nextAttemptAt && <Time at={each.nextAttemptAt} />}</td>
                  <td>
                    {each.state !== "pending" && (
                      <button type="button" onClick={() => void replay.run(each.id)}>
                        Send again
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>{state ? "No delivery has this state." : "No delivery yet. Send a test event with the button above."}</p>
          )
        }
      </Loading>
      <More of={deliveries} />
    </>
  );
}
