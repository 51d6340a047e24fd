/** A text of a user, a tool or a document: as it stands, cut where it is long. */

import type { VNode } from "preact";
import { useState } from "preact/hooks";

import { count } from "./parts";

const SHOWN = 600;

export function LongText({ text }: { text: string }): VNode {
  const [whole, setWhole] = useState(false);
  const isLong = text.length > SHOWN;
  // Never half of a pair of surrogates.
  const shown = isLong && !whole ? `${text.slice(0, SHOWN).replace(/[\uD800-\uDBFF]$/, "")} …` : text;
  return (
    <>
      <pre class="long">{shown}</pre>
      {isLong && (
        <p>
          <button type="button" aria-expanded={whole} onClick={() => setWhole(!whole)}>
            {whole ? "Show less" : `Show all ${count.format(text.length)} characters`}
          </button>
        </p>
      )}
    </>
  );
}

/** JSON with line breaks and indents, anything else as it is. No number or string is changed, however large it is. */
export function indented(text: string): string {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  const tokens = text.match(/"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  return tokens
    .map((token, at) => {
      const line = (): string => "\n" + "  ".repeat(depth);
      const isEmpty = (open: string | undefined, close: string | undefined): boolean =>
        (open === "{" && close === "}") || (open === "[" && close === "]");
      if (token === "{" || token === "[") {
        depth += 1;
        return isEmpty(token, tokens[at + 1]) ? token : token + line();
      }
      if (token === "}" || token === "]") {
        depth -= 1;
        return isEmpty(tokens[at - 1], token) ? token : line() + token;
      }
      return token === "," ? token + line() : token === ":" ? ": " : token;
    })
    .join("");
}
