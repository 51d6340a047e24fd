/** The chat on the left, the frames of its newest turn on the right, and what can be done to the stream. */

import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import type { Api } from "./api";
import { Chat, type ChatState, type Choice } from "./chat";
import { Frames } from "./frames";
import { Copy, Field, Trouble } from "./parts";
import { LANGUAGES, snippet } from "./snippets";
import { Transcript } from "./transcript";

interface Props {
  api: Api;
  choice: Choice;
  name: string;
}

/** A new session for each choice. */
export function TryOut({ api, choice, name }: Props): VNode {
  const [round, setRound] = useState(0);
  const { chat, state } = useChat(api, choice, round);
  return (
    <div class="try-out">
      <section class="talk" aria-label="Chat">
        <p class="quiet session">
          {state.sessionId ? (
            <>
              Session <code>{state.sessionId}</code>, {state.agentVersion ? `version ${state.agentVersion}` : "draft"}.{" "}
              <button type="button" onClick={() => setRound(round + 1)}>
                New session
              </button>
            </>
          ) : (
            "The first message starts a session."
          )}
        </p>
        <Transcript conversation={state.conversation} label={`Conversation with ${name}`} />
        <Trouble refusal={state.refusal} />
        <Composer chat={chat} state={state} />
      </section>
      <section class="stream" aria-label="Stream">
        <Controls chat={chat} state={state} />
        <Frames frames={state.frames} />
        {state.question && (
          <p class="copies">
            Copy this request as{" "}
            {LANGUAGES.map((language) => (
              <Copy label={language} text={() => snippet(language, location.origin, choice, state.question)} />
            ))}
          </p>
        )}
      </section>
    </div>
  );
}

function useChat(api: Api, choice: Choice, round: number): { chat: Chat; state: ChatState } {
  const [, drawn] = useState(0);
  const frame = useRef(0);
  const chat = useMemo(
    // Many deltas of one moment are drawn once.
    () => new Chat(api, choice, () => void (frame.current ||= window.setTimeout(() => {
      frame.current = 0;
      drawn((before) => before + 1);
    }, 30))),
    [api, choice.agentId, choice.draft, round],
  );
  useEffect(() => () => chat.close(), [chat]);
  return { chat, state: chat.state };
}

const PHASES: Record<string, string> = {
  connecting: "Connecting …",
  streaming: "The stream is open.",
  cut: "The stream is cut. The turn runs on; resume to read the rest.",
};

function Controls({ chat, state }: { chat: Chat; state: ChatState }): VNode {
  const open = state.phase === "streaming" || state.phase === "connecting";
  const phase = PHASES[state.phase] ?? (state.frames.length ? "The stream has ended." : "No stream yet.");
  return (
    <div class="controls">
      <p role="status">
        {phase} {state.lastId && <span class="quiet">Last id {state.lastId}.</span>}
      </p>
      <p class="buttons">
        <button type="button" disabled={!open} onClick={() => chat.cut()}>
          Cut the connection
        </button>
        <button type="button" disabled={state.phase !== "cut"} onClick={() => void chat.resume()}>
          Resume
        </button>
        <button type="button" disabled={state.phase === "idle" || !state.turnId} onClick={() => void chat.cancel()}>
          Cancel the turn
        </button>
      </p>
    </div>
  );
}

function Composer({ chat, state }: { chat: Chat; state: ChatState }): VNode {
  const [text, setText] = useState("");
  const busy = state.phase !== "idle";
  const send = (): void => {
    if (!text.trim() || busy) return;
    void chat.send(text.trim());
    setText("");
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <Field label="Message">
        {(id) => (
          <textarea
            id={id}
            rows={2}
            dir="auto"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              // An input method uses Enter to choose a word.
              if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              send();
            }}
          />
        )}
      </Field>
      <button type="submit" class="primary" disabled={busy || !text.trim()}>
        Send
      </button>
    </form>
  );
}
