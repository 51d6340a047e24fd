// @openai/agents on Responses: it runs its own tools, the agent of Parley runs its own on the server.
import { readFileSync } from "node:fs";
import { Agent, OpenAIResponsesModel, run, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";

const { baseURL, apiKey, echo, weather, demo, late, failing } = JSON.parse(readFileSync(0, "utf8"));
setTracingDisabled(true);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const asked = [];
const sunny = tool({
  name: "weather",
  description: "The weather of a city.",
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    asked.push(city);
    return "sunny";
  },
});
const agent = (model, ...tools) =>
  new Agent({ name: "Client", instructions: "Be brief.", model: new OpenAIResponsesModel(client, model), tools });

async function whole() {
  const first = await run(agent(echo), "hello");
  const second = await run(agent(echo), "again", { previousResponseId: first.lastResponseId });
  return { text: first.finalOutput, second: second.finalOutput, response: second.lastResponseId };
}

async function streamed(model, question, ...tools) {
  const result = await run(agent(model, ...tools), question, { stream: true });
  let deltas = "";
  let count = 0;
  for await (const event of result) {
    if (event.type !== "raw_model_stream_event" || event.data.type !== "output_text_delta") continue;
    deltas += event.data.delta;
    count += 1;
    if (model === late && count === 5) console.log(JSON.stringify({ kill: true }));
  }
  await result.completed;
  return { text: result.finalOutput, deltas, response: result.lastResponseId };
}

async function refused(model) {
  try {
    await run(agent(model), "hello");
  } catch (error) {
    return { status: error.status };
  }
}

const seen = { whole: await whole(), streamed: await streamed(echo, "hello"), tool: await streamed(weather, "weather?", sunny) };
seen.cited = await streamed(demo, "How long does delivery take to 80202?");
seen.unknown = await refused("nobody");
seen.failing = await refused(failing);
seen.asked = asked;
seen.late = await streamed(late, "late");
console.log(JSON.stringify(seen));
