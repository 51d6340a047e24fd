/** Small parts of both pages. Whatever they show is text: nothing is ever parsed as HTML. */

import type { ComponentChildren, VNode } from "preact";
import { useId, useState } from "preact/hooks";

import type { Refusal } from "./api";
import type { Loaded, Pages } from "./load";

/** What went wrong, in the words of the API, with the faults of single fields. */
export function Trouble({ refusal }: { refusal: Refusal | null }): VNode | null {
  if (!refusal) return null;
  return (
    <div class="trouble" role="alert">
      <p>
        {refusal.detail} <code>{refusal.code}</code>
      </p>
      {refusal.faults.length > 0 && (
        <ul>
          {refusal.faults.map(({ field, message }) => (
            <li>
              <code>{field}</code> {message}
            </li>
          ))}
        </ul>
      )}
      {refusal.retryAfterS > 0 && <p>Try again in {refusal.retryAfterS} s.</p>}
    </div>
  );
}

/** A loaded value, or that it is being read, or why it cannot be. */
export function Loading<T>({ of, children }: { of: Loaded<T>; children: (value: T) => ComponentChildren }): VNode {
  return (
    <>
      <Trouble refusal={of.refusal} />
      {of.value === null ? !of.refusal && <p class="quiet">Loading …</p> : children(of.value)}
      {of.refusal && (
        <p>
          <button type="button" onClick={of.reload}>
            Try again
          </button>
        </p>
      )}
    </>
  );
}

export function More({ of }: { of: Pages<unknown> }): VNode | null {
  return of.more && of.value ? (
    <p>
      <button type="button" onClick={of.more}>
        More
      </button>
    </p>
  ) : null;
}

interface FieldProps {
  label: string;
  hint?: string;
  children: (id: string, described: { "aria-describedby"?: string }) => ComponentChildren;
}

export function Field({ label, hint, children }: FieldProps): VNode {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id, hint ? { "aria-describedby": `${id}-hint` } : {})}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

/** A button that asks once more. */
export function Sure({ label, question, onSure }: { label: string; question: string; onSure: () => void }): VNode {
  const [asked, setAsked] = useState(false);
  if (!asked) {
    return (
      <button type="button" onClick={() => setAsked(true)}>
        {label}
      </button>
    );
  }
  return (
    <span class="sure" role="group" aria-label={question}>
      <span>{question}</span>{" "}
      <button
        type="button"
        class="danger"
        onClick={() => {
          setAsked(false);
          onSure();
        }}
      >
        {label}
      </button>{" "}
      <button type="button" onClick={() => setAsked(false)}>
        Keep
      </button>
    </span>
  );
}

export function Copy({ text, label }: { text: () => string; label: string }): VNode {
  const [said, setSaid] = useState("");
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text()).then(
      () => setSaid("Copied"),
      () => setSaid("Not copied"),
    );
    setTimeout(() => setSaid(""), 2000);
  };
  return (
    <button type="button" aria-live="polite" onClick={() => void copy()}>
      {said || label}
    </button>
  );
}

/** A secret that the API tells only in the answer that made it. */
export function ShownOnce({ says, secret, hide }: { says: string; secret: string | null; hide: () => void }): VNode | null {
  if (!secret) return null;
  return (
    <div class="secret" role="status">
      <p>{says} It is shown this once: copy it now.</p>
      <p>
        <code>{secret}</code> <Copy label="Copy" text={() => secret} />{" "}
        <button type="button" onClick={hide}>
          Hide it
        </button>
      </p>
    </div>
  );
}

/** Boxes of which several can be ticked. */
export function Choices({
  legend,
  of,
  chosen,
  choose,
}: {
  legend: string;
  of: Record<string, string>;
  chosen: string[];
  choose: (names: string[]) => void;
}): VNode {
  const toggle = (name: string, on: boolean): void =>
    choose(on ? [...chosen, name] : chosen.filter((each) => each !== name));
  return (
    <fieldset>
      <legend>{legend}</legend>
      {Object.entries(of).map(([name, means]) => (
        <label class="check">
          <input
            type="checkbox"
            checked={chosen.includes(name)}
            onChange={(event) => toggle(name, event.currentTarget.checked)}
          />{" "}
          <code>{name}</code> {means}
        </label>
      ))}
    </fieldset>
  );
}

/** A table that scrolls by itself on a small screen. */
export function Table({ label, head, children }: { label: string; head: string[]; children: ComponentChildren }): VNode {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead>
          <tr>
            {head.map((title) => (
              <th scope="col">{title || <span class="hidden">Actions</span>}</th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

const STATES: Record<string, string> = {
  indexed: "good",
  published: "good",
  completed: "good",
  active: "good",
  delivered: "good",
  enabled: "good",
  passed: "good",
  exceeded: "bad",
  failed: "bad",
  dead: "bad",
  disabled: "bad",
  pending: "waits",
  processing: "waits",
  preparing: "waits",
  running: "waits",
};

export function State({ name }: { name: string }): VNode {
  return <span class={`state ${STATES[name] ?? ""}`}>{name}</span>;
}

export function Time({ at }: { at: string | null | undefined }): VNode {
  if (!at) return <span class="quiet">never</span>;
  return <time dateTime={at}>{new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}</time>;
}

export const count = new Intl.NumberFormat("en");
