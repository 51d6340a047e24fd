// The Vercel AI SDK with its OpenAI-compatible provider.
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { baseURL, apiKey, echo, weather, json, failing, slow } = JSON.parse(readFileSync(0, "utf8"));
const parley = createOpenAICompatible({ name: "parley", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const asked = [];
const tools = {
  weather: tool({
    description: "The weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return "sunny";
    },
  }),
};

// Silent for seconds, which need not be waited for in turn.
const silent = streamText({ model: parley(slow), prompt: "slow", maxRetries: 0 }).text;
const whole = await generateText({ model: parley(echo), prompt: "hello", maxRetries: 0 });
const stream = streamText({ model: parley(echo), prompt: "hello", maxRetries: 0 });
let text = "";
for await (const delta of stream.textStream) text += delta;
const stepped = await generateText({ model: parley(weather), prompt: "weather?", tools, stopWhen: stepCountIs(3), maxRetries: 0 });
const toolStream = streamText({ model: parley(weather), prompt: "weather?", tools, stopWhen: stepCountIs(3), maxRetries: 0 });
const steppedText = await toolStream.text;
const structured = await generateText({
  model: parley(json),
  prompt: "json?",
  output: Output.object({ schema: z.object({ said: z.string() }) }),
  maxRetries: 0,
});

const parts = [];
const broken = streamText({ model: parley(failing), prompt: "fail", maxRetries: 0, onError: () => {} });
const errors = [];
try {
  for await (const part of broken.fullStream) {
    parts.push(part.type);
    if (part.type === "error") errors.push(part.error?.message ?? String(part.error));
  }
} catch (error) {
  errors.push(error.message);
}

let refused;
try {
  await generateText({ model: parley("agt_unknown"), prompt: "hello" });
} catch (error) {
  refused = { message: error.message, status: error.statusCode, retryable: error.isRetryable };
}
console.log(
  JSON.stringify({
    whole: whole.text,
    streamed: text,
    usage: await stream.usage,
    reason: await stream.finishReason,
    stepped: stepped.text,
    steppedText,
    asked,
    structured: structured.output,
    silentText: await silent,
    parts,
    errors,
    refused,
  }),
);
