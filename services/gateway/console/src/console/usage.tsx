/** Tokens and cost of ended turns, by day as a chart, and by agent, key or model as a table. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { useAgents } from "../shared/agents";
import { type Api, query } from "../shared/api";
import { usePages } from "../shared/load";
import { count, Field, Loading, More, Table } from "../shared/parts";
import { Chart } from "./chart";

export interface UsageRow {
  group: string | null;
  turns: number;
  promptTokens: number;
  completionTokens: number;
  totalTokens: number;
  cost: number | null;
  currency: string;
}

const GROUPS = { agent: "agent", key: "key", model: "model" };

function day(shift: number): string {
  return new Date(Date.now() + shift * 86_400_000).toISOString().slice(0, 10);
}

export function Usage({ api }: { api: Api }): VNode {
  const [from, setFrom] = useState(day(-29));
  const [to, setTo] = useState(day(0));
  const [groupBy, setGroupBy] = useState("agent");
  const days = usePages<UsageRow>(api, `/usage${query({ groupBy: "day", from, to, limit: 200 })}`);
  return (
    <>
      <h1>Usage</h1>
      <div class="choice">
        <Field label="From (UTC)">
          {(id) => <input id={id} type="date" value={from} onChange={(event) => setFrom(event.currentTarget.value)} />}
        </Field>
        <Field label="To (UTC)">
          {(id) => <input id={id} type="date" value={to} onChange={(event) => setTo(event.currentTarget.value)} />}
        </Field>
      </div>
      <Loading of={days}>
        {(rows) => (
          <>
            <Sums rows={rows} />
            <Chart title="Tokens by day" rows={rows} from={from} to={to} value={(row) => row.totalTokens} />
            <Chart title="Turns by day" rows={rows} from={from} to={to} value={(row) => row.turns} />
          </>
        )}
      </Loading>
      <More of={days} />
      <h2>By {groupBy}</h2>
      <Field label="Group by">
        {(id) => (
          <select id={id} value={groupBy} onChange={(event) => setGroupBy(event.currentTarget.value)}>
            {Object.entries(GROUPS).map(([name, label]) => (
              <option value={name}>{label}</option>
            ))}
          </select>
        )}
      </Field>
      <Groups key={groupBy} api={api} groupBy={groupBy} from={from} to={to} />
    </>
  );
}

function Sums({ rows }: { rows: UsageRow[] }): VNode {
  const sum = (value: (row: UsageRow) => number): string => count.format(rows.reduce((all, row) => all + value(row), 0));
  return (
    <dl class="facts">
      <div>
        <dt>Turns</dt>
        <dd>{sum((row) => row.turns)}</dd>
      </div>
      <div>
        <dt>Prompt tokens</dt>
        <dd>{sum((row) => row.promptTokens)}</dd>
      </div>
      <div>
        <dt>Completion tokens</dt>
        <dd>{sum((row) => row.completionTokens)}</dd>
      </div>
      <div>
        <dt>Cost</dt>
        <dd>{costOf(rows)}</dd>
      </div>
    </dl>
  );
}

function costOf(rows: UsageRow[]): string {
  const priced = rows.filter((row) => row.cost !== null);
  if (!priced.length) return "unknown";
  const text = priced.reduce((all, row) => all + (row.cost ?? 0), 0).toFixed(4);
  return `${text} ${priced[0]!.currency}`;
}

function Groups({ api, groupBy, from, to }: { api: Api; groupBy: string; from: string; to: string }): VNode {
  const rows = usePages<UsageRow>(api, `/usage${query({ groupBy, from, to, limit: 200 })}`);
  const agents = useAgents(api);
  const names = new Map((agents.value ?? []).map((agent) => [agent.id, agent.name]));
  return (
    <>
      <Loading of={rows}>
        {(found) =>
          found.length ? (
            <Table label={`Usage by ${groupBy}`} head={[groupBy, "Turns", "Prompt tokens", "Completion tokens", "Cost"]}>
              {found.map((row) => (
                <tr>
                  <td>{row.group === null ? "none" : (names.get(row.group) ?? row.group)}</td>
                  <td>{count.format(row.turns)}</td>
                  <td>{count.format(row.promptTokens)}</td>
                  <td>{count.format(row.completionTokens)}</td>
                  <td>{costOf([row])}</td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>No turn ended in this time. Ask an agent something on its Try tab.</p>
          )
        }
      </Loading>
      <More of={rows} />
    </>
  );
}
