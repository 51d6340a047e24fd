// Reads one stream and says when its first text is there: the test then does something to the server.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const { baseURL, apiKey, model, question } = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const say = (event) => console.log(JSON.stringify(event));
let text = "";
try {
  const stream = await client.chat.completions.create({ model, messages: [{ role: "user", content: question }], stream: true });
  say({ event: "open" });
  for await (const chunk of stream) {
    const delta = chunk.choices[0]?.delta.content ?? "";
    if (delta && !text) say({ event: "text" });
    text += delta;
  }
  say({ event: "end", text });
} catch (error) {
  say({ event: "raised", type: error.constructor.name, message: error.message, text });
}
