/** The sessions of the workspace, searched by words that were said. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { useAgents } from "../shared/agents";
import { type Api, query } from "../shared/api";
import { usePages } from "../shared/load";
import { count, Field, Loading, More, State, Table, Time } from "../shared/parts";
import { place } from "./route";

export interface Session {
  id: string;
  agentId: string;
  agentVersion: number;
  status: string;
  metadata: Record<string, string>;
  endUser: { id: string; name: string | null } | null;
  turnCount: number;
  createdAt: string;
  lastMessageAt: string | null;
  endedReason: string | null;
}

export function Sessions({ api }: { api: Api }): VNode {
  const [words, setWords] = useState("");
  const [asked, setAsked] = useState("");
  const [agentId, setAgentId] = useState("");
  const [status, setStatus] = useState("");
  const agents = useAgents(api);
  const names = new Map((agents.value ?? []).map((agent) => [agent.id, agent.name]));
  const sessions = usePages<Session>(api, `/chat/sessions${query({ limit: 50, q: asked, agentId, status })}`);
  return (
    <>
      <h1>Sessions</h1>
      <form
        class="choice"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(words.trim());
          sessions.reload();
        }}
      >
        <Field label="Words that were said">
          {(id) => (
            <input
              id={id}
              type="search"
              maxLength={200}
              value={words}
              onInput={(event) => setWords(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Agent">
          {(id) => (
            <select id={id} value={agentId} onChange={(event) => setAgentId(event.currentTarget.value)}>
              <option value="">all</option>
              {[...names].map(([name, title]) => (
                <option value={name}>{title}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label="Status">
          {(id) => (
            <select id={id} value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
              <option value="">any</option>
              <option value="active">active</option>
              <option value="ended">ended</option>
            </select>
          )}
        </Field>
        <button type="submit">Search</button>
      </form>
      <Loading of={sessions}>
        {(found) =>
          found.length ? (
            <Table label="Sessions" head={["Session", "Agent", "Status", "Turns", "End user", "Last message"]}>
              {found.map((session) => (
                <tr>
                  <td>
                    <a href={place("sessions", session.id)}>
                      <code>{session.id}</code>
                    </a>
                  </td>
                  <td>
                    {names.get(session.agentId) ?? session.agentId},{" "}
                    {session.agentVersion ? `version ${session.agentVersion}` : "draft"}
                  </td>
                  <td>
                    <State name={session.status} />
                  </td>
                  <td>{count.format(session.turnCount)}</td>
                  <td>{session.endUser ? (session.endUser.name ?? session.endUser.id) : ""}</td>
                  <td>
                    <Time at={session.lastMessageAt} />
                  </td>
                </tr>
              ))}
            </Table>
          ) : (
            <p>{nothing(sessions.more !== null, Boolean(asked || agentId || status))}</p>
          )
        }
      </Loading>
      <More of={sessions} />
    </>
  );
}

function nothing(hasMore: boolean, isSearch: boolean): string {
  if (hasMore) return "None on this page of the search; go on with More.";
  if (isSearch) return "No session is like this. Search for less.";
  return "No session yet. Start one on the Try tab of an agent.";
}
