/** A conversation as the events of its session tell it. Pure: applying an event twice changes nothing. */

export interface Passage {
  id: string;
  title: string;
  heading?: string | null;
  url?: string | null;
  page?: number | null;
  text: string;
  marker?: number | null;
}

export interface Citation {
  marker: number;
  passage: Passage;
}

export interface ToolCall {
  id: string;
  name: string;
  status: "running" | "ok" | "error";
}

export interface Turn {
  id: string;
  number: number;
  createdAt: string;
  questions: string[];
  status: "running" | "completed" | "cancelled" | "failed";
  /** The answer; each model call begins a part of its own. */
  parts: string[];
  /** The stored message that feedback is about. */
  messageId: string | null;
  passages: Passage[];
  searching: boolean;
  tools: ToolCall[];
  filtered: boolean;
  errorCode: string | null;
  /** The newest frame that was applied. */
  attempt: number;
  seq: number;
}

export interface Conversation {
  turns: Turn[];
  /** The id to resume after. */
  lastId: string;
  ended: boolean;
}

export interface SessionEvent {
  id: string;
  event: string;
  data: Record<string, any>;
}

export const EMPTY: Conversation = { turns: [], lastId: "", ended: false };

const POSITION = /^(.+)\.(\d+)-(\d+)$/;

export function apply(conversation: Conversation, event: SessionEvent): Conversation {
  if (event.event === "session_ended") return { ...conversation, ended: true };
  const found = POSITION.exec(event.id);
  const turnId: string = found?.[1] ?? event.data.turnId ?? "";
  const [attempt, seq] = [Number(found?.[2] ?? 0), Number(found?.[3] ?? 0)];
  if (event.event === "turn_started") {
    if (conversation.turns.some((turn) => turn.id === turnId)) return conversation;
    const turns = [...conversation.turns, started(turnId, event.data)].sort((one, other) => one.number - other.number);
    return { ...conversation, turns, lastId: event.id || conversation.lastId };
  }
  let known = false;
  const turns = conversation.turns.map((turn) => {
    if (turn.id !== turnId || turn.status !== "running") return turn;
    if (found && (attempt < turn.attempt || (attempt === turn.attempt && seq <= turn.seq))) return turn;
    known = true;
    const position = found ? { attempt, seq } : {};
    return { ...advanced(turn, event), ...position };
  });
  return known ? { ...conversation, turns, lastId: event.id || conversation.lastId } : conversation;
}

function started(id: string, data: Record<string, any>): Turn {
  return {
    id,
    number: data.number,
    createdAt: data.createdAt,
    questions: (data.messages ?? []).filter((each: any) => each.role === "user").map((each: any) => each.content),
    status: "running",
    parts: [""],
    messageId: null,
    passages: [],
    searching: false,
    tools: [],
    filtered: false,
    errorCode: null,
    attempt: 0,
    seq: 0,
  };
}

function advanced(turn: Turn, { event, data }: SessionEvent): Turn {
  switch (event) {
    case "delta":
      return { ...turn, searching: false, parts: [...turn.parts.slice(0, -1), (turn.parts.at(-1) ?? "") + data.text] };
    case "kb_retrieval":
      return { ...turn, searching: false, passages: merged(turn.passages, data.passages ?? []) };
    case "tool_call":
      return {
        ...turn,
        parts: turn.parts.at(-1) ? [...turn.parts, ""] : turn.parts,
        tools: [...turn.tools, { id: data.toolCallId, name: data.name, status: "running" }],
      };
    case "tool_result":
      return {
        ...turn,
        tools: turn.tools.map((each) => (each.id === data.toolCallId ? { ...each, status: data.status } : each)),
      };
    case "guardrail":
      return { ...turn, filtered: turn.filtered || data.action === "block" };
    case "restarted":
      return { ...turn, parts: [""], passages: [], tools: [] };
    case "turn_ended":
      return ended(turn, data);
    default:
      return turn;
  }
}

/** The stored messages replace what was streamed: they are the receipt. */
function ended(turn: Turn, data: Record<string, any>): Turn {
  const answers: any[] = (data.messages ?? []).filter((each: any) => each.role === "assistant");
  const texts = answers.map((each) => String(each.content ?? "")).filter(Boolean);
  const cited = answers.flatMap((each) => (each.citations ?? []) as Citation[]);
  const known = answers.flatMap((each) => (each.knowledge?.passages ?? []) as Passage[]);
  return {
    ...turn,
    status: data.status,
    parts: texts.length ? texts : data.status === "failed" ? turn.parts : [""],
    messageId: answers.at(-1)?.id ?? null,
    passages: merged(
      merged(turn.passages, known),
      cited.map(({ marker, passage }) => ({ ...passage, marker })),
    ),
    searching: false,
    tools: turn.tools.map((each) => (each.status === "running" ? { ...each, status: "error" } : each)),
    filtered: turn.filtered || data.finishReason === "content_filter",
    errorCode: data.error?.code ?? null,
  };
}

function merged(known: Passage[], more: Passage[]): Passage[] {
  const byId = new Map(known.map((passage) => [passage.id, passage]));
  for (const passage of more) byId.set(passage.id, { ...byId.get(passage.id), ...passage });
  return [...byId.values()];
}

export function isRunning(conversation: Conversation): boolean {
  return conversation.turns.at(-1)?.status === "running";
}

/** The whole conversation as plain text, for a download. */
export function transcript(conversation: Conversation, visitor: string, agent: string): string {
  return conversation.turns
    .flatMap((turn) => [
      ...turn.questions.map((text) => `${visitor} (${turn.createdAt}):\n${text}\n`),
      `${agent}:\n${turn.parts.join("\n\n")}\n`,
    ])
    .join("\n");
}
