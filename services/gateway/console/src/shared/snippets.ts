/** What a reader pastes to do the same: a session, a message, its stream. Pure. The key is never part of a snippet. */

import type { Choice } from "./chat";

export const LANGUAGES = ["curl", "Python", "TypeScript"] as const;
export type Language = (typeof LANGUAGES)[number];

export function snippet(language: Language, origin: string, choice: Choice, question: string): string {
  const session = JSON.stringify(choice.draft ? { agentId: choice.agentId, draftMode: true } : { agentId: choice.agentId });
  const message = JSON.stringify({ content: question, stream: true });
  const api = `${origin}/api/v1`;
  if (language === "curl") return curl(api, session, message);
  return language === "Python" ? python(api, session, message) : typescript(api, session, message);
}

/** In single quotes a shell reads everything as it stands but the quote itself. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function curl(api: string, session: string, message: string): string {
  return `# PARLEY_KEY holds the secret key.
API=${api}
SESSION=$(curl -s "$API/chat/sessions" -H "Authorization: Bearer $PARLEY_KEY" \\
  -H "Content-Type: application/json" -d ${quoted(session)} | grep -o 'ses_[0-9a-z]*' | head -n 1)
curl -sN "$API/chat/sessions/$SESSION/messages" -H "Authorization: Bearer $PARLEY_KEY" \\
  -H "Content-Type: application/json" -d ${quoted(message)}
`;
}

function python(api: string, session: string, message: string): string {
  return `import json
import os

import httpx

headers = {"Authorization": "Bearer " + os.environ["PARLEY_KEY"]}
with httpx.Client(base_url=${JSON.stringify(api)}, headers=headers, timeout=60) as http:
    session = http.post("/chat/sessions", json=json.loads(${JSON.stringify(session)})).raise_for_status().json()["data"]["id"]
    message = json.loads(${JSON.stringify(message)})
    with http.stream("POST", f"/chat/sessions/{session}/messages", json=message) as answer:
        event = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "delta":
                print(json.loads(line.removeprefix("data: "))["text"], end="", flush=True)
            elif line.startswith("data: ") and event in ("done", "error"):
                print("\\n" + event, line.removeprefix("data: "))
`;
}

function typescript(api: string, session: string, message: string): string {
  return `const api = ${JSON.stringify(api)};
const headers = { Authorization: \`Bearer \${process.env.PARLEY_KEY}\`, "Content-Type": "application/json" };

const made = await fetch(\`\${api}/chat/sessions\`, { method: "POST", headers, body: ${JSON.stringify(session)} });
const { data } = await made.json();
const answer = await fetch(\`\${api}/chat/sessions/\${data.id}/messages\`, {
  method: "POST",
  headers,
  body: ${JSON.stringify(message)},
});
let rest = "";
for await (const piece of answer.body!.pipeThrough(new TextDecoderStream())) {
  const blocks = (rest + piece).split("\\n\\n");
  rest = blocks.pop() ?? "";
  for (const block of blocks) {
    const event = /^event: (.*)$/m.exec(block)?.[1];
    const text = /^data: (.*)$/m.exec(block)?.[1];
    if (event === "delta" && text) process.stdout.write(JSON.parse(text).text);
    if (event === "done" || event === "error") console.log("\\n" + event, text);
  }
}
`;
}
