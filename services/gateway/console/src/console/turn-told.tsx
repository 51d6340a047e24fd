/** What one turn did: its figures in a line, and below it the searches, tool calls and whatever else is stored of it. */

import type { ComponentChildren, VNode } from "preact";
import { useState } from "preact/hooks";

import type { Turn } from "../../../widget/src/frame/conversation";
import { count, State, Time } from "../shared/parts";
import type { Receipt } from "./receipts";
import { place } from "./route";
import { Citations, Search, ToolCalls } from "./turn-steps";

const GAPS: Record<string, string> = { nothing_found: "nothing was found", nothing_cited: "nothing was cited" };

/** `receipt`: undefined until it is read. */
export function Told({ turn, receipt }: { turn: Turn; receipt: Receipt | undefined }): VNode | null {
  const [open, setOpen] = useState(false);
  if (!receipt) {
    const attempt = turn.status === "running" && turn.attempt > 1 ? `Attempt ${turn.attempt}.` : "";
    return attempt ? <p class="told quiet">{attempt}</p> : null;
  }
  return (
    <details class="told" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <State name={receipt.turn.status} />
        {figures(receipt).map((figure) => (
          <>
            {" · "}
            <span>{figure}</span>
          </>
        ))}
      </summary>
      {/* Hundreds of turns are drawn at once, and few of them are opened. */}
      {open && <All receipt={receipt} />}
    </details>
  );
}

function figures({ turn, retrievals, messages, feedback }: Receipt): string[] {
  const { attempt, agentVersion, usage, timing } = turn;
  const passages = retrievals.reduce((sum, each) => sum + each.passages.length, 0);
  const calls = messages.reduce((sum, each) => sum + (each.toolCalls?.length ?? 0), 0);
  return [
    agentVersion ? `version ${agentVersion}` : "draft",
    attempt > 1 ? `attempt ${attempt}` : "",
    timing?.firstTokenMs !== undefined ? `first token ${duration(timing.firstTokenMs)}` : "",
    timing ? `${duration(timing.totalMs)} in all` : "",
    usage ? `${count.format(usage.promptTokens)} + ${count.format(usage.completionTokens)} tokens` : "",
    retrievals.length ? numbered(passages, "passage") : "",
    calls ? numbered(calls, "tool call") : "",
    turn.guardrails?.length ? "a guardrail acted" : "",
    feedback ? `rated ${feedback.rating}` : "",
  ].filter(Boolean);
}

function All({ receipt }: { receipt: Receipt }): VNode {
  return (
    <div class="all">
      {receipt.turn.error && (
        <p class="bad">
          {receipt.turn.error.detail ?? receipt.turn.error.title} <code>{receipt.turn.error.code}</code>
        </p>
      )}
      {receipt.retrievals.map((retrieval) => (
        <Search {...retrieval} />
      ))}
      <ToolCalls messages={receipt.messages} />
      <Citations messages={receipt.messages} />
      <dl class="receipt">
        {rows(receipt)
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </>
          ))}
      </dl>
    </div>
  );
}

function rows({ turn, gap, feedback }: Receipt): [string, ComponentChildren][] {
  const { usage, timing } = turn;
  const acts = turn.guardrails?.map(({ name, action, stage }) => `${name}: ${action} at ${stage}`).join(", ");
  return [
    ["Guardrails", acts],
    ["Feedback", feedback && <Rated {...feedback} />],
    ["Gap of the knowledge", gap && (GAPS[gap] ?? gap)],
    ["Version", <a href={place("agents", turn.agentId, "versions")}>{turn.agentVersion || "draft"}</a>],
    ["Finish reason", turn.finishReason],
    ["Attempt", turn.attempt || ""],
    ["Times", timing && timesOf(timing)],
    ["Tokens", usage && tokensOf(usage)],
    ["Turn", <code>{turn.id}</code>],
    ["Request", turn.requestId && <code>{turn.requestId}</code>],
    ["Trace", turn.traceId && <code>{turn.traceId}</code>],
  ];
}

function Rated({ rating, comment, givenAt }: NonNullable<Receipt["feedback"]>): VNode {
  return (
    <>
      {rating}, <Time at={givenAt} />
      {comment && <q class="comment">{comment}</q>}
    </>
  );
}

function timesOf({ queuedMs, firstTokenMs, totalMs }: NonNullable<Receipt["turn"]["timing"]>): string {
  const first = firstTokenMs === undefined ? "no token" : `first token after ${duration(firstTokenMs)}`;
  return `queued ${duration(queuedMs)}, ${first}, ${duration(totalMs)} in all`;
}

function tokensOf(usage: NonNullable<Receipt["turn"]["usage"]>): string {
  const more = [
    usage.cachedTokens !== undefined ? `${count.format(usage.cachedTokens)} cached` : "",
    usage.reasoningTokens !== undefined ? `${count.format(usage.reasoningTokens)} for reasoning` : "",
    usage.estimated ? "estimated" : "",
  ].filter(Boolean);
  const sums = `${count.format(usage.promptTokens)} of the prompt, ${count.format(usage.completionTokens)} of the answer`;
  return more.length ? `${sums} (${more.join(", ")})` : sums;
}

function duration(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function numbered(number: number, name: string): string {
  return `${count.format(number)} ${name}${number === 1 ? "" : "s"}`;
}
