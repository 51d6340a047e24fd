/** Secret keys: made, shown once, revoked. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { Choices, Field, Loading, More, ShownOnce, State, Sure, Table, Time, Trouble } from "../shared/parts";

interface Key {
  id: string;
  label: string;
  environment: string;
  scopes: string[];
  createdAt: string;
  expiresAt: string | null;
  lastUsedAt?: string | null;
  revokedAt?: string | null;
}

/** As in the reference of scopes. */
const SCOPES: Record<string, string> = {
  "chat:read": "read sessions, turns and streams",
  "chat:write": "create sessions and post messages",
  "agents:read": "read agents, versions and knowledge",
  "agents:write": "create, change and publish agents",
  "keys:write": "list, create and revoke keys",
  "usage:read": "read usage and budgets",
  "budgets:write": "set budgets",
  "audit:read": "read the audit records",
  "endusers:write": "export and erase data of end users",
  "webhooks:write": "manage webhooks",
};

export function Keys({ api }: { api: Api }): VNode {
  const keys = usePages<Key>(api, "/keys?limit=50");
  const revoke = useAction(async (id: string) => {
    await api.send("DELETE", `/keys/${id}`);
    keys.reload();
  });
  return (
    <>
      <h1>Keys</h1>
      <Trouble refusal={revoke.refusal} />
      <Loading of={keys}>
        {(found) => (
          <Table label="Keys" head={["Label", "Environment", "Scopes", "Created", "Expires", ""]}>
            {found.map((key) => (
              <tr>
                <td>
                  {key.label || <code>{key.id}</code>} {key.revokedAt && <State name="revoked" />}
                </td>
                <td>{key.environment}</td>
                <td>{key.scopes.join(", ")}</td>
                <td>
                  <Time at={key.createdAt} />
                </td>
                <td>
                  <Time at={key.expiresAt} />
                </td>
                <td>
                  <div class="buttons">
                    <Sure
                      label="Revoke"
                      question="Programs with this key stop working within a second."
                      onSure={() => void revoke.run(key.id)}
                    />
                  </div>
                </td>
              </tr>
            ))}
          </Table>
        )}
      </Loading>
      <More of={keys} />
      <NewKey api={api} made={keys.reload} />
    </>
  );
}

function NewKey({ api, made }: { api: Api; made: () => void }): VNode {
  const [label, setLabel] = useState("");
  const [environment, setEnvironment] = useState("live");
  const [scopes, setScopes] = useState(["chat:read", "chat:write"]);
  const [secret, setSecret] = useState<string | null>(null);
  const { run, busy, refusal } = useAction(async () => {
    const key = await api.send<{ secret: string }>("POST", "/keys", { label, environment, scopes });
    setSecret(key.secret);
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
      <h2>New key</h2>
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
      <Choices legend="Scopes" of={SCOPES} chosen={scopes} choose={setScopes} />
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy || scopes.length === 0}>
        Create the key
      </button>
      <ShownOnce says="This is the key." secret={secret} hide={() => setSecret(null)} />
    </form>
  );
}
