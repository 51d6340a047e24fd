/** The frames of a turn as they came: when, what, and all of their data. Deltas that follow each other are one row. */

import type { ComponentChildren, VNode } from "preact";

import { count } from "./parts";
import { useStick } from "./stick";
import type { Frame } from "./turn-stream";

interface Row {
  frames: Frame[];
}

export function Frames({ frames }: { frames: Frame[] }): VNode {
  const stick = useStick<HTMLOListElement>(frames.length);
  if (!frames.length) return <p class="quiet">The frames of the turn appear here as they come.</p>;
  return (
    <ol class="frames" aria-label="Frames of the turn" tabIndex={0} {...stick}>
      {rowsOf(frames).map((row, at) => (
        <FrameRow key={at} {...row} />
      ))}
    </ol>
  );
}

function rowsOf(frames: Frame[]): Row[] {
  const rows: Row[] = [];
  for (const frame of frames) {
    const before = rows.at(-1)?.frames;
    const first = before?.[0];
    if (before && first?.event === "delta" && frame.event === "delta" && first.connection === frame.connection) {
      before.push(frame);
    } else rows.push({ frames: [frame] });
  }
  return rows;
}

function FrameRow({ frames }: Row): VNode {
  const [first, last] = [frames[0]!, frames.at(-1)!];
  const many = frames.length > 1;
  return (
    <li class={`frame ${first.event}`}>
      <details>
        <summary>
          <span class="at">+{count.format(Math.round(first.at))} ms</span> <strong>{first.event}</strong>
          {many && <span class="times"> × {frames.length}</span>} <span class="id">{many ? `${first.id} … ${last.id}` : first.id}</span>
          {first.connection > 1 && <span class="again"> connection {first.connection}</span>}
        </summary>
        <pre tabIndex={0}>
          <code>
            {many
              ? frames.map((frame) => `+${Math.round(frame.at)} ms  ${frame.id}  ${JSON.stringify(frame.data)}`).join("\n")
              : JSON.stringify(first.data, null, 2)}
          </code>
        </pre>
      </details>
      <Gist frames={frames} />
    </li>
  );
}

function Gist({ frames }: Row): VNode | null {
  const { event, data } = frames[0]!;
  switch (event) {
    case "queued":
      return line(data.position === 0 ? "next in the queue" : `${data.position} turns ahead`);
    case "started":
      return line(`version ${data.agentVersion}, attempt ${data.attempt}, waited ${data.waitMs} ms`);
    case "delta":
      return line(frames.map((frame) => frame.data.text).join(""));
    case "kb_retrieval":
      return <Retrieval query={data.query} passages={data.passages ?? []} />;
    case "tool_call":
      return line(
        <>
          <code>{data.name}</code> <code>{data.arguments}</code>
        </>,
      );
    case "tool_result":
      return line(
        <>
          <code>{data.name}</code> {data.status} in {data.durationMs} ms: {data.result}
        </>,
      );
    case "restarted":
      return line(`attempt ${data.attempt}, ${data.reason}: the text so far is void`);
    case "guardrail":
      return line(`${data.name}: ${data.action} at ${data.stage}`);
    case "done":
      return <Receipt data={data} />;
    case "error":
      return line(
        <>
          {data.detail} <code>{data.code}</code>
        </>,
      );
    default:
      return null;
  }
}

function line(content: ComponentChildren): VNode {
  return <p class="gist">{content}</p>;
}

function Retrieval({ query, passages }: { query: string; passages: Record<string, any>[] }): VNode {
  return (
    <div class="gist">
      <p>
        Searched for “{query}”: {passages.length ? "" : "nothing found"}
      </p>
      <ul>
        {passages.map((passage) => (
          <li>
            <meter min={0} max={1} value={passage.score} aria-label={`Score of ${passage.title}`} />{" "}
            <span class="score">{Number(passage.score).toFixed(2)}</span> {passage.title}
            {passage.marker ? ` [${passage.marker}]` : ""}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Receipt({ data }: { data: Record<string, any> }): VNode {
  const { usage, timing } = data;
  return (
    <dl class="gist receipt">
      <dt>Status</dt>
      <dd>
        {data.status}, {data.finishReason}
      </dd>
      {usage && (
        <>
          <dt>Usage</dt>
          <dd>
            {count.format(usage.promptTokens)} + {count.format(usage.completionTokens)} tokens
            {usage.estimated ? " (estimated)" : ""}
          </dd>
        </>
      )}
      {timing && (
        <>
          <dt>Times</dt>
          <dd>
            queued {timing.queuedMs} ms, first token {timing.firstTokenMs ?? "–"} ms, total {timing.totalMs} ms
          </dd>
        </>
      )}
    </dl>
  );
}
