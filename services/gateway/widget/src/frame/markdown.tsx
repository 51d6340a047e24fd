/**
 * Markdown as elements, never as HTML: the tokens of the Markdown library become nodes of a fixed list, so a hostile
 * answer has no markup to hide in. Images and raw HTML are shown as text. Links open in a new tab and show their host.
 */

import { Lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren, VNode } from "preact";
import { useMemo, useRef } from "preact/hooks";

const LINKS = new Set(["http:", "https:", "mailto:"]);
const MARKERS = /\[(\d{1,3})\]/g;
const DEEPEST = 20;

/** Renders a marker such as `[2]`; null leaves it as text. */
export type Cite = (marker: number) => VNode | null;

/** The text's blocks. While text is appended, only the last block is read and rendered again. */
export function Markdown({ text, cite }: { text: string; cite: Cite }): VNode {
  const before = useRef<{ text: string; blocks: Token[] }>({ text: "", blocks: [] });
  const blocks = useMemo(() => {
    const found = split(before.current, text);
    before.current = { text, blocks: found };
    return found;
  }, [text]);
  return (
    <>
      {blocks.map((token, at) => (
        <Block key={at} raw={token.raw} token={token} cite={cite} />
      ))}
    </>
  );
}

function split(before: { text: string; blocks: Token[] }, text: string): Token[] {
  if (!before.text || !text.startsWith(before.text)) return Lexer.lex(text, { gfm: true });
  const kept = before.blocks.slice(0, -2);
  const length = kept.reduce((sum, token) => sum + token.raw.length, 0);
  return [...kept, ...Lexer.lex(text.slice(length), { gfm: true })];
}

interface BlockProps {
  raw: string;
  token: Token;
  cite: Cite;
}

/** The same node again is not compared: a finished block costs nothing while the next one grows. */
function Block({ raw, token, cite }: BlockProps): VNode {
  return useMemo(() => <>{block(token, cite, 0)}</>, [raw, cite]);
}

function blocks(tokens: Token[] | undefined, cite: Cite, depth: number): ComponentChildren {
  return (tokens ?? []).map((token) => block(token, cite, depth + 1));
}

function block(token: Token, cite: Cite, depth: number): ComponentChildren {
  if (depth > DEEPEST) return token.raw;
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      // The widget's own title is the page's heading; headings of answers are below it.
      return <p class={`heading heading-${(token as Tokens.Heading).depth}`}>{inline(token, cite)}</p>;
    case "paragraph":
      return <p>{inline(token, cite)}</p>;
    case "code":
      return (
        <pre tabIndex={0}>
          <code>{(token as Tokens.Code).text}</code>
        </pre>
      );
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens, cite, depth)}</blockquote>;
    case "list":
      return list(token as Tokens.List, cite, depth);
    case "table":
      return table(token as Tokens.Table, cite);
    case "hr":
      return <hr />;
    case "text":
      return (token as Tokens.Text).tokens ? inline(token, cite) : marked(token.raw, cite);
    default:
      return <p>{token.raw}</p>;
  }
}

function list(token: Tokens.List, cite: Cite, depth: number): VNode {
  const items = token.items.map((item) => (
    <li>
      {item.task && <input type="checkbox" checked={item.checked === true} disabled aria-label={item.text} />}
      {blocks(item.tokens, cite, depth)}
    </li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, cite: Cite): VNode {
  return (
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell) => (
              <th>{spans(cell.tokens, cite, 0)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td>{spans(cell.tokens, cite, 0)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(token: Token, cite: Cite): ComponentChildren {
  return spans((token as Tokens.Paragraph).tokens ?? [], cite, 0);
}

function spans(tokens: Token[], cite: Cite, depth: number): ComponentChildren {
  return tokens.map((token) => span(token, cite, depth + 1));
}

function span(token: Token, cite: Cite, depth: number): ComponentChildren {
  if (depth > DEEPEST) return token.raw;
  const inner = (): ComponentChildren => spans((token as Tokens.Strong).tokens ?? [], cite, depth);
  switch (token.type) {
    case "strong":
      return <strong>{inner()}</strong>;
    case "em":
      return <em>{inner()}</em>;
    case "del":
      return <del>{inner()}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "escape":
      return (token as Tokens.Escape).text;
    case "link":
      return <Link href={(token as Tokens.Link).href}>{inner()}</Link>;
    case "image":
      // The picture's own address is never loaded: the request alone would tell somebody what the answer holds.
      return <Link href={(token as Tokens.Image).href}>{(token as Tokens.Image).text || (token as Tokens.Image).href}</Link>;
    case "text":
      return (token as Tokens.Text).tokens ? inner() : marked((token as Tokens.Text).text, cite);
    default:
      return token.raw;
  }
}

/** Text with its markers, as the agent's prompt asks for them. */
function marked(text: string, cite: Cite): ComponentChildren {
  const found: ComponentChildren[] = [];
  let from = 0;
  for (const match of text.matchAll(MARKERS)) {
    const chip = cite(Number(match[1]));
    if (!chip) continue;
    found.push(text.slice(from, match.index).trimEnd(), chip);
    from = match.index + match[0].length;
  }
  return [...found, text.slice(from)].map((part) => (typeof part === "string" ? decoded(part) : part));
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'", nbsp: "\u00a0" };

function decoded(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name: string) => ENTITIES[name] ?? "");
}

export function safeUrl(href: string | null | undefined): URL | null {
  try {
    const url = new URL(href ?? "");
    return LINKS.has(url.protocol) && !url.username && !url.password ? url : null;
  } catch {
    return null;
  }
}

/** A link that cannot harm, or its text alone. The host stands beside a text that names another one. */
export function Link({ href, children }: { href: string; children: ComponentChildren }): VNode {
  const url = safeUrl(href);
  if (!url) return <span>{children}</span>;
  const host = url.protocol === "mailto:" ? url.pathname : url.host;
  return (
    <a href={url.href} target="_blank" rel="noopener noreferrer nofollow" title={url.href}>
      {children}
      {!plain(children).includes(host) && <span class="host"> ({host})</span>}
    </a>
  );
}

function plain(children: ComponentChildren): string {
  if (Array.isArray(children)) return children.map(plain).join("");
  if (typeof children === "string") return children;
  const inner = (children as VNode<{ children?: ComponentChildren }> | null)?.props?.children;
  return inner === undefined ? "" : plain(inner);
}
