/** What users asked and the agent's sources do not answer. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { type Api, query } from "../shared/api";
import { useLoaded } from "../shared/load";
import { count, Field, Loading, Table, Time } from "../shared/parts";
import { place } from "./route";

interface Gaps {
  questions: number;
  truncated: boolean;
  gaps: { question: string; count: number; lastAskedAt: string; examples: { sessionId: string | null }[] }[];
}

const REASONS = { nothing_found: "nothing was found", nothing_cited: "nothing was cited", any: "either" };

export function Gaps({ api, agentId }: { api: Api; agentId: string }): VNode {
  const [reason, setReason] = useState("nothing_found");
  const [days, setDays] = useState(7);
  const path = `/agents/${agentId}/knowledge/gaps${query({ reason, days })}`;
  const gaps = useLoaded((signal) => api.get<Gaps>(path, signal), [api, path]);
  return (
    <section class="card" aria-label="Gaps">
      <h2>Gaps</h2>
      <div class="choice">
        <Field label="Questions for which">
          {(id) => (
            <select id={id} value={reason} onChange={(event) => setReason(event.currentTarget.value)}>
              {Object.entries(REASONS).map(([name, label]) => (
                <option value={name}>{label}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Of the last">
          {(id) => (
            <select id={id} value={days} onChange={(event) => setDays(Number(event.currentTarget.value))}>
              {[1, 7, 30, 90].map((number) => (
                <option value={number}>{number === 1 ? "day" : `${number} days`}</option>
              ))}
            </select>
          )}
        </Field>
      </div>
      <Loading of={gaps}>
        {(found) =>
          found.gaps.length ? (
            <Table label="Gaps" head={["Question", "Asked", "Last", ""]}>
              {found.gaps.map((gap) => {
                const session = gap.examples.find((example) => example.sessionId)?.sessionId;
                return (
                  <tr>
                    <td>{gap.question}</td>
                    <td>{count.format(gap.count)}</td>
                    <td>
                      <Time at={gap.lastAskedAt} />
                    </td>
                    <td>{session && <a href={place("sessions", session)}>Session</a>}</td>
                  </tr>
                );
              })}
            </Table>
          ) : (
            <p>No gap in this time. Questions are listed here that the sources do not answer.</p>
          )
        }
      </Loading>
    </section>
  );
}
