// openai-node's `responses` against the stack: every way to ask, in one document.
import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const { baseURL, otherURL, apiKey, echo, weather, json, slow, busy, demo } = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const other = new OpenAI({ baseURL: otherURL, apiKey, maxRetries: 0, timeout: 30_000 });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const tools = [{ type: "function", name: "weather", parameters, strict: true }];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function whole() {
  const response = await client.responses.create({ model: echo, input: "hello" });
  const again = await client.responses.retrieve(response.id);
  const items = [];
  for await (const item of client.responses.inputItems.list(response.id)) items.push(item.content[0].text);
  return { id: response.id, text: response.output_text, same: again.output_text === response.output_text, items };
}

async function helper() {
  let deltas = "";
  const stream = client.responses.stream({ model: echo, input: "hello" });
  stream.on("response.output_text.delta", (event) => (deltas += event.delta));
  const final = await stream.finalResponse();
  return { id: final.id, deltas, text: final.output_text, status: final.status };
}

async function callersTool() {
  const asked = await client.responses.stream({ model: weather, input: "weather?", tools }).finalResponse();
  const [call] = asked.output;
  const output = [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }];
  const answer = await client.responses.create({ previous_response_id: asked.id, input: output, tools });
  return { name: call.name, parsed: call.parsed_arguments, id: answer.id, text: answer.output_text };
}

async function structured() {
  const format = zodTextFormat(z.object({ said: z.string() }), "said");
  const response = await client.responses.parse({ model: json, input: "json?", text: { format } });
  return response.output_parsed;
}

async function background() {
  let response = await client.responses.create({ model: echo, input: "later", background: true });
  const first = response.status;
  while (["queued", "in_progress"].includes(response.status)) {
    await pause(100);
    response = await client.responses.retrieve(response.id);
  }
  const stream = client.responses.stream({ response_id: response.id });
  const final = await stream.finalResponse();
  return { first, id: response.id, text: response.output_text, followed: final.output_text };
}

// The connection is dropped in mid answer; the other gateway goes on after the last event.
async function cutOff() {
  const seen = [];
  const stream = await client.responses.create({ model: slow, input: "cut", stream: true });
  for await (const event of stream) {
    seen.push(event);
    if (seen.length === 20) break;
  }
  const options = { stream: true, starting_after: seen.at(-1).sequence_number };
  for await (const event of await other.responses.retrieve(seen[0].response.id, options)) seen.push(event);
  const text = seen.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join("");
  // openai-node adds `output_text` to whole responses only.
  const final = seen.at(-1).response.output[0].content[0].text;
  const inOrder = seen.every((event, index) => event.sequence_number === index);
  return { id: seen[0].response.id, text, final, inOrder };
}

async function cancelled() {
  const running = await client.responses.create({ model: busy, input: "stop", background: true });
  let conflict = null;
  try {
    await client.responses.create({ input: "now?", previous_response_id: running.id });
  } catch (error) {
    conflict = { error: error.constructor.name, status: error.status, code: error.code };
  }
  await client.responses.cancel(running.id);
  let response = await client.responses.retrieve(running.id);
  while (response.status !== "cancelled") {
    await pause(100);
    response = await client.responses.retrieve(running.id);
  }
  return { status: response.status, conflict };
}

async function cited() {
  const response = await client.responses.create({ model: demo, input: "How long does delivery take to 80202?" });
  const message = response.output.at(-1);
  return { id: response.id, kinds: response.output.map((item) => item.type), annotations: message.content[0].annotations.length, text: response.output_text };
}

async function missing() {
  try {
    await client.responses.create({ model: "nobody", input: "hi" });
  } catch (error) {
    return { error: error.constructor.name, status: error.status, message: error.message };
  }
}

const names = { whole, helper, callersTool, structured, background, cutOff, cancelled, cited, missing };
const seen = await Promise.all(Object.entries(names).map(async ([name, run]) => [name, await run()]));
console.log(JSON.stringify(Object.fromEntries(seen)));
