/** Budgets: how many tokens and how much money a workspace, an agent, a key or an end user may use. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import type { Api } from "../shared/api";
import { useAction, usePages } from "../shared/load";
import { count, Field, Loading, More, State, Sure, Table, Time, Trouble } from "../shared/parts";

interface Use {
  tokens: number | null;
  cost: number | null;
  usedTokens: number;
  usedCost: number;
  exceeded: boolean;
  resetsAt: string;
}

interface Budget {
  subject: string;
  day?: Use | null;
  month?: Use | null;
  currency: string;
}

const KINDS = { workspace: "the workspace", agent: "an agent", key: "a key", endUser: "an end user" };
const LIMITS = { dayTokens: "Tokens a day", dayCost: "Cost a day", monthTokens: "Tokens a month", monthCost: "Cost a month" };
type Limit = keyof typeof LIMITS;
const EMPTY: Record<Limit, string> = { dayTokens: "", dayCost: "", monthTokens: "", monthCost: "" };

export function Budgets({ api }: { api: Api }): VNode {
  const budgets = usePages<Budget>(api, "/budgets?limit=50");
  const remove = useAction(async (subject: string) => {
    await api.send("DELETE", `/budgets/${encodeURIComponent(subject)}`);
    budgets.reload();
  });
  return (
    <>
      <h1>Budgets</h1>
      <Trouble refusal={remove.refusal} />
      <Loading of={budgets}>
        {(found) =>
          found.length ? (
            <Table label="Budgets" head={["Of", "This day (UTC)", "This month (UTC)", ""]}>
              {found.map((budget) => (
                <tr>
                  <td>
                    <code>{budget.subject}</code>
                  </td>
                  <td>
                    <Used of={budget.day} currency={budget.currency} />
                  </td>
                  <td>
                    <Used of={budget.month} currency={budget.currency} />
                  </td>
                  <td>
                    <Sure
                      label="Remove"
                      question={`Nothing limits ${budget.subject} then.`}
                      onSure={() => void remove.run(budget.subject)}
                    />
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No budget yet: nothing is limited. Set one below.</p>
          )
        }
      </Loading>
      <More of={budgets} />
      <SetBudget api={api} set={budgets.reload} />
    </>
  );
}

function Used({ of, currency }: { of: Use | null | undefined; currency: string }): VNode {
  if (!of) return <span class="quiet">no limit</span>;
  const { tokens, cost } = of;
  return (
    <>
      {tokens !== null && tokens !== undefined && (
        <div>
          {count.format(of.usedTokens)} of {count.format(tokens)} tokens
        </div>
      )}
      {cost !== null && cost !== undefined && (
        <div>
          {of.usedCost.toFixed(2)} of {cost.toFixed(2)} {currency}
        </div>
      )}
      {of.exceeded && (
        <div>
          <State name="exceeded" /> until <Time at={of.resetsAt} />
        </div>
      )}
    </>
  );
}

function SetBudget({ api, set }: { api: Api; set: () => void }): VNode {
  const [kind, setKind] = useState("workspace");
  const [subject, setSubject] = useState("");
  const [limits, setLimits] = useState(EMPTY);
  const { run, busy, refusal } = useAction(async () => {
    const whose = kind === "workspace" ? kind : `${kind}:${subject.trim()}`;
    await api.send("PUT", `/budgets/${encodeURIComponent(whose)}`, {
      day: allowance(limits.dayTokens, limits.dayCost),
      month: allowance(limits.monthTokens, limits.monthCost),
    });
    setLimits(EMPTY);
    set();
  });
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      <h2>Set a budget</h2>
      <p>It replaces the one that is there. Turns beyond it are refused; 0 refuses every turn.</p>
      <Field label="Budget of">
        {(id) => (
          <select id={id} value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
            {Object.entries(KINDS).map(([name, label]) => (
              <option value={name}>{label}</option>
            ))}
          </select>
        )}
      </Field>
      {kind !== "workspace" && (
        <Field label="Its id">
          {(id) => (
            <input id={id} required value={subject} onInput={(event) => setSubject(event.currentTarget.value)} />
          )}
        </Field>
      )}
      {(Object.entries(LIMITS) as [Limit, string][]).map(([name, label]) => (
        <Field key={name} label={label}>
          {(id) => (
            <input
              id={id}
              type="number"
              min={0}
              step={name.endsWith("Cost") ? "any" : 1}
              value={limits[name]}
              onInput={(event) => setLimits({ ...limits, [name]: event.currentTarget.value })}
            />
          )}
        </Field>
      ))}
      <Trouble refusal={refusal} />
      <button type="submit" class="primary" disabled={busy}>
        Set the budget
      </button>
    </form>
  );
}

function allowance(tokens: string, cost: string): { tokens?: number; cost?: number } | null {
  if (!tokens && !cost) return null;
  return { ...(tokens && { tokens: Number(tokens) }), ...(cost && { cost: Number(cost) }) };
}
