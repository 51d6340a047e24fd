// LangChain for JavaScript.
import { readFileSync } from "node:fs";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const { baseURL, apiKey, echo, weather, json } = JSON.parse(readFileSync(0, "utf8"));
const chat = (model) => new ChatOpenAI({ model, apiKey, maxRetries: 0, timeout: 30_000, configuration: { baseURL } });
const weatherTool = tool(async () => "sunny", { name: "weather", description: "The weather.", schema: z.object({ city: z.string() }) });

const whole = await chat(echo).invoke("hello");
let text = "";
let usage = null;
for await (const chunk of await chat(echo).stream("hello")) {
  text += chunk.content;
  usage = chunk.usage_metadata ?? usage;
}
const bound = chat(weather).bindTools([weatherTool]);
const question = new HumanMessage("weather?");
const calling = await bound.invoke([question]);
const [call] = calling.tool_calls;
const answer = await bound.invoke([question, calling, new ToolMessage({ content: "sunny", tool_call_id: call.id })]);
const structured = await chat(json).withStructuredOutput(z.object({ said: z.string() }), { method: "jsonSchema" }).invoke("json?");
let refused;
try {
  await chat("agt_unknown").invoke("hello");
} catch (error) {
  refused = error.message;
}
console.log(
  JSON.stringify({
    whole: whole.content,
    usageOfWhole: whole.usage_metadata,
    streamed: text,
    usage,
    call: { name: call.name, args: call.args },
    answer: answer.content,
    structured,
    refused,
  }),
);
