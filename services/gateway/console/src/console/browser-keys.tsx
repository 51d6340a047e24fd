/** Publishable keys of one agent, for pages in browsers: made, limited to origins, revoked. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { count, Field, Loading, More, ShownOnce, Sure, Table, Time, Trouble } from "../shared/parts";

interface BrowserKey {
  id: string;
  label: string;
  environment: string;
  allowedOrigins: string[];
  dailyTokens: number | null;
  createdAt: string;
  lastUsedAt?: string | null;
}

export function BrowserKeys({ api, agentId }: { api: Api; agentId: string }): VNode {
  const base = `/agents/${agentId}/publishable-keys`;
  const keys = usePages<BrowserKey>(api, `${base}?limit=50`);
  const revoke = useAction(async (id: string) => {
    await api.send("DELETE", `${base}/${id}`);
    keys.reload();
  });
  return (
    <>
      <h2>Browser keys</h2>
      <p>A browser key is in a page's source, for everybody to read. It opens the chat of this agent only, on the sites that it names.</p>
      <Trouble refusal={revoke.refusal} />
      <Loading of={keys}>
        {(found) =>
          found.length ? (
            <Table label="Browser keys" head={["Label", "Environment", "Sites", "Tokens a day", "Created", "Last used", ""]}>
              {found.map((key) => (
                <tr>
                  <td>{key.label || <code>{key.id}</code>}</td>
                  <td>{key.environment}</td>
                  <td>{key.allowedOrigins.join(", ")}</td>
                  <td>{key.dailyTokens === null ? "no limit" : count.format(key.dailyTokens)}</td>
                  <td>
                    <Time at={key.createdAt} />
                  </td>
                  <td>
                    <Time at={key.lastUsedAt} />
                  </td>
                  <td>
                    <Sure
                      label="Revoke"
                      question="The chat on pages with this key stops working within a second."
                      onSure={() => void revoke.run(key.id)}
                    />
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No browser key yet. Create one below, for the sites that may show the chat.</p>
          )
        }
      </Loading>
      <More of={keys} />
      <NewBrowserKey api={api} path={base} made={keys.reload} />
    </>
  );
}

function NewBrowserKey({ api, path, made }: { api: Api; path: string; made: () => void }): VNode {
  const [label, setLabel] = useState("");
  const [environment, setEnvironment] = useState("live");
  const [origins, setOrigins] = useState("");
  const [daily, setDaily] = useState("");
  const [secret, setSecret] = useState<string | null>(null);
  const { run, busy, refusal } = useAction(async () => {
    const allowedOrigins = origins.split(/\s+/).filter(Boolean);
    const body = { label, environment, allowedOrigins, dailyTokens: daily ? Number(daily) : null };
    setSecret((await api.send<{ secret: string }>("POST", path, body)).secret);
    setLabel("");
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
      <h2>New browser key</h2>
      <Field label="Label">
        {(id) => <input id={id} value={label} maxLength={100} onInput={(event) => setLabel(event.currentTarget.value)} />}
      </Field>
      <Field label="Environment">
        {(id) => (
          <select id={id} value={environment} onChange={(event) => setEnvironment(event.currentTarget.value)}>
            <option value="live">live</option>
            <option value="test">test</option>
          </select>
        )}
      </Field>
      <Field label="Sites" hint="One a line, such as https://shop.example. A test key may name http://localhost:* too.">
        {(id, described) => (
          <textarea
            id={id}
            {...described}
            rows={3}
            required
            value={origins}
            onInput={(event) => setOrigins(event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Tokens a day" hint="Empty: no limit.">
        {(id, described) => (
          <input
            id={id}
            {...described}
            type="number"
            min={1}
            value={daily}
            onInput={(event) => setDaily(event.currentTarget.value)}
          />
        )}
      </Field>
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy}>
        Create the browser key
      </button>
      <ShownOnce says="This is the key for your page." secret={secret} hide={() => setSecret(null)} />
    </form>
  );
}
