// openai-node against the stack: every way to ask, in one document.
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { baseURL, apiKey, echo, weather, json, slow } = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const user = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];

async function streamed() {
  const stream = await client.chat.completions.create({
    model: echo,
    messages: user("hello"),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return { text, usage };
}

async function whole() {
  const completion = await client.chat.completions.create({ model: echo, messages: user("hello") });
  return { text: completion.choices[0].message.content, usage: completion.usage, requestId: completion._request_id };
}

async function helper() {
  let deltas = "";
  const runner = client.chat.completions.stream({ model: echo, messages: user("hello") });
  runner.on("content", (delta) => (deltas += delta));
  return { deltas, text: await runner.finalContent(), reason: (await runner.finalChatCompletion()).choices[0].finish_reason, all: deltas };
}

async function callersTool() {
  const runner = client.chat.completions.stream({ model: weather, messages: user("weather?"), tools });
  const message = (await runner.finalChatCompletion()).choices[0].message;
  const [call] = message.tool_calls;
  const answered = [...user("weather?"), message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
  const answer = await client.chat.completions.create({ model: weather, messages: answered, tools });
  return { name: call.function.name, arguments: call.function.arguments, text: answer.choices[0].message.content };
}

async function toolRunner() {
  let asked = null;
  const runner = client.chat.completions.runTools({
    model: weather,
    messages: user("runner?"),
    tools: [
      {
        type: "function",
        function: {
          name: "weather",
          parameters,
          parse: JSON.parse,
          function: ({ city }) => {
            asked = city;
            return "sunny";
          },
        },
      },
    ],
  });
  return { text: await runner.finalContent(), asked };
}

async function structured() {
  const format = zodResponseFormat(z.object({ said: z.string() }), "said");
  const completion = await client.chat.completions.parse({ model: json, messages: user("json?"), response_format: format });
  return completion.choices[0].message.parsed;
}

async function timedOut() {
  try {
    await client.chat.completions.create({ model: slow, messages: user("too slow") }, { timeout: 1500 });
  } catch (error) {
    return { error: error.constructor.name };
  }
}

async function brokenOff() {
  const stream = await client.chat.completions.create({ model: slow, messages: user("leave"), stream: true });
  for await (const chunk of stream) {
    return { id: chunk.id };
  }
}

async function storedOnes() {
  const metadata = { mark: `node-${process.pid}-${Date.now()}` };
  const ids = [];
  for (const content of ["a", "b", "c"]) {
    ids.push((await client.chat.completions.create({ model: echo, messages: user(content), store: true, metadata })).id);
  }
  const listed = [];
  for await (const completion of client.chat.completions.list({ metadata, limit: 2 })) listed.push(completion.id);
  const updated = await client.chat.completions.update(ids[0], { metadata: { mark: "other" } });
  const deleted = await client.chat.completions.delete(ids[1]);
  const left = [];
  for await (const completion of client.chat.completions.list({ metadata })) left.push(completion.id);
  const messages = [];
  for await (const message of client.chat.completions.messages.list(ids[2])) messages.push([message.role, message.content]);
  return { ids, listed, updated: updated.metadata, deleted: deleted.deleted, left, messages };
}

const [a, b, c, d, e, f, g, h, i] = await Promise.all([
  streamed(), whole(), helper(), callersTool(), toolRunner(), structured(), timedOut(), brokenOff(), storedOnes(),
]);
console.log(
  JSON.stringify({
    streamed: a, whole: b, helper: c, callersTool: d, toolRunner: e, structured: f, timedOut: g, brokenOff: h, storedOnes: i,
    models: (await client.models.list()).data.map((model) => model.id),
  }),
);
