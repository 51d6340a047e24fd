/** The steps of a turn: what it searched for and found, which tools it called, and what its answer cites. */

import type { VNode } from "preact";

import { safeUrl } from "../../../widget/src/frame/markdown";
import { indented, LongText } from "../shared/long-text";
import { State } from "../shared/parts";
import type { Found, Message, Place } from "./receipts";

interface Call {
  id: string;
  name: string;
  arguments: string;
  result: Message | null;
}

export function Search({ query, passages }: { query: string; passages: Found[] }): VNode {
  return (
    <div class="step" role="group" aria-label="Search">
      <p>
        Searched for <q>{query}</q>
        {passages.length ? "" : ": nothing was found"}
      </p>
      {passages.map((passage) => (
        <details>
          <summary>
            <meter min={0} max={1} value={passage.score} aria-label={`Score of ${passage.title}`} /> {passage.score.toFixed(2)}{" "}
            {passage.marker ? `[${passage.marker}] ` : ""}
            {nameOf(passage)}
          </summary>
          {passage.url && (
            <p>
              <Named {...passage} title={passage.url} />
            </p>
          )}
          {passage.text ? <LongText text={passage.text} /> : <p class="quiet">Its text is in the tool's result.</p>}
        </details>
      ))}
    </div>
  );
}

export function ToolCalls({ messages }: { messages: Message[] }): VNode {
  return (
    <>
      {callsOf(messages).map((call) => (
        <details class="step">
          <summary>
            Tool <code>{call.name}</code>: <State name={call.result ? (call.result.failed ? "failed" : "completed") : "no result"} />
          </summary>
          <p class="quiet">Arguments</p>
          <LongText text={indented(call.arguments)} />
          {call.result && (
            <>
              <p class="quiet">Result</p>
              <LongText text={indented(call.result.content ?? "")} />
            </>
          )}
        </details>
      ))}
    </>
  );
}

/** Each call with its result. A call's id is unique only among the calls of one message. */
function callsOf(messages: Message[]): Call[] {
  const calls: Call[] = [];
  for (const message of messages) {
    calls.push(...(message.toolCalls ?? []).map((call) => ({ ...call, result: null })));
    if (message.role !== "tool") continue;
    const call = calls.filter(({ id, result }) => id === message.toolCallId && !result).at(-1);
    if (call) call.result = message;
  }
  return calls;
}

export function Citations({ messages }: { messages: Message[] }): VNode | null {
  const cited = new Map(
    messages
      .flatMap(({ citations }) => citations ?? [])
      .map(({ marker, passage }) => [`${marker} ${nameOf(passage)} ${passage.url ?? ""}`, { marker, passage }]),
  );
  if (!cited.size) return null;
  return (
    <div class="step" role="group" aria-label="Citations">
      <p>Cited</p>
      <ul>
        {[...cited.values()].map(({ marker, passage }) => (
          <li>
            [{marker}] <Named {...passage} title={nameOf(passage)} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function Named({ title, url }: Place): VNode {
  const safe = safeUrl(url);
  return safe ? (
    <a href={safe.href} target="_blank" rel="noopener noreferrer nofollow">
      {title}
    </a>
  ) : (
    <span>{title}</span>
  );
}

function nameOf({ title, heading, page }: Place): string {
  return [title, heading, page ? `page ${page}` : ""].filter(Boolean).join(" · ");
}
