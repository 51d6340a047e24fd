/** One session: its transcript, which grows while its turns run, and what the agent did in each of them. */

import type { VNode } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";

import { apply, type Conversation, EMPTY, type Turn } from "../../../widget/src/frame/conversation";
import { follow, type StreamStatus } from "../../../widget/src/frame/session-stream";
import { useAgents } from "../shared/agents";
import { type Api, asRefusal, type Refusal } from "../shared/api";
import { useAction, useLoaded } from "../shared/load";
import { Loading, State, Sure, Time, Trouble } from "../shared/parts";
import { Transcript } from "../shared/transcript";
import { type Receipts, useReceipts } from "./receipts";
import { place } from "./route";
import type { Session } from "./sessions";
import { Told } from "./turn-told";

interface Live {
  conversation: Conversation;
  status: StreamStatus;
  refusal: Refusal | null;
}

export function SessionPage({ api, id }: { api: Api; id: string }): VNode {
  const path = `/chat/sessions/${encodeURIComponent(id)}`;
  const session = useLoaded((signal) => api.get<Session>(path, signal), [api, id]);
  const live = useLive(api, path);
  const receipts = useReceipts(api, path, live.conversation.turns);
  const end = useAction(async () => {
    await api.send("POST", `${path}/end`);
    session.reload();
  });
  return (
    <>
      <p>
        <a href={place("sessions")}>All sessions</a>
      </p>
      <h1>Session</h1>
      <Loading of={session}>
        {(found) => (
          <>
            <Facts api={api} session={found} />
            <Trouble refusal={end.refusal} />
            {found.status === "active" && !live.conversation.ended && (
              <p>
                <Sure label="End the session" question="Nobody can go on with it." onSure={() => void end.run()} />
              </p>
            )}
            <Trouble refusal={live.refusal} />
            {live.status === "reconnecting" && !live.refusal && <p role="status">The stream broke; connecting again …</p>}
            <Said live={live} receipts={receipts} />
            {live.conversation.turns.length === 0 && <p class="quiet">Nothing was said yet.</p>}
          </>
        )}
      </Loading>
    </>
  );
}

/** The transcript. A line below each answer opens to what is stored of its turn. */
function Said({ live, receipts }: { live: Live; receipts: Receipts }): VNode {
  const below = useCallback((turn: Turn) => <Told turn={turn} receipt={receipts.of.get(turn.id)} />, [receipts.of]);
  return (
    <>
      <Trouble refusal={receipts.refusal} />
      {receipts.refusal && (
        <p>
          <button type="button" onClick={receipts.again}>
            Read what the turns did again
          </button>
        </p>
      )}
      <div class="told-of">
        <Transcript conversation={live.conversation} label="Transcript" below={below} />
      </div>
    </>
  );
}

function Facts({ api, session }: { api: Api; session: Session }): VNode {
  const agents = useAgents(api);
  const model = useModel(api, session);
  const name = agents.value?.find((agent) => agent.id === session.agentId)?.name ?? session.agentId;
  const facts: [string, VNode | string][] = [
    ["Id", <code>{session.id}</code>],
    ["Agent", <a href={place("agents", session.agentId)}>{name}</a>],
    ["Version", session.agentVersion ? String(session.agentVersion) : "draft"],
    ...(model ? [["Model", model] as [string, string]] : []),
    ["Status", <State name={session.status} />],
    ["Created", <Time at={session.createdAt} />],
    ...(session.endUser ? [["End user", session.endUser.name ?? session.endUser.id] as [string, string]] : []),
    ...Object.entries(session.metadata),
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** As its version names it. A draft may have changed since, and a key that may not read versions does without. */
function useModel(api: Api, { agentId, agentVersion }: Session): string | null {
  const version = useLoaded(
    async (signal) => {
      if (!agentVersion) return null;
      const path = `/agents/${agentId}/versions/${agentVersion}`;
      return api.get<{ config: { model: { name: string } } }>(path, signal);
    },
    [api, agentId, agentVersion],
  );
  return version.value?.config.model.name ?? null;
}

/** The session's own stream, from its first turn on, resumed after every cut. */
function useLive(api: Api, path: string): Live {
  const [live, setLive] = useState<Live>({ conversation: EMPTY, status: "live", refusal: null });
  useEffect(() => {
    const leaving = new AbortController();
    let conversation = EMPTY;
    let timer = 0;
    const drawn = (): void => {
      timer = 0;
      setLive((before) => ({ ...before, conversation }));
    };
    const events = (lastId: string, signal: AbortSignal): Promise<Response> =>
      api.open("GET", `${path}/events?frames=true`, { signal, headers: lastId ? { "Last-Event-ID": lastId } : {} });
    void follow(
      { events },
      {
        lastId: () => conversation.lastId,
        event: (event) => {
          conversation = apply(conversation, event);
          timer ||= window.setTimeout(drawn, 30);
        },
        status: (status) => setLive((before) => ({ ...before, status })),
        failed: (problem) => setLive((before) => ({ ...before, refusal: asRefusal(problem) })),
      },
      leaving.signal,
    );
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, [api, path]);
  return live;
}
