// AG-UI's own client, with its verifier, over the running stack.
import { readFileSync } from "node:fs";
import { HttpAgent } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";

const config = JSON.parse(readFileSync(0, "utf8"));
const { baseURL, apiKey, agents } = config;
const tools = [{ name: "color", description: "The page's color", parameters: { type: "object", properties: {} } }];
let count = 0;
// The client reports a cut connection, and leaves a rejected promise of its own behind as well.
process.on("unhandledRejection", (error) => {
  if (error?.message !== "network error") throw error;
});

class Agent extends HttpAgent {
  constructor(agent, threadId, { fetch = globalThis.fetch, key = apiKey } = {}) {
    super({ url: `${baseURL}/agents/${agent}/agui`, headers: { Authorization: `Bearer ${key}` }, threadId, fetch });
    this.agent = agent;
    this.events = [];
  }

  say(content) {
    this.addMessage({ id: `user-${++count}`, role: "user", content });
  }

  // What the run told: its error if it failed, and its events, each parsed by the protocol's own schema.
  async go(parameters = {}) {
    try {
      await this.runAgent(parameters, {
        onEvent: ({ event }) => {
          EventSchemas.parse(event);
          this.events.push(event.type);
        },
        onRunErrorEvent: ({ event }) => {
          this.failure = event;
        },
        onTextMessageContentEvent: () => {
          this.hasText = true;
        },
        onCustomEvent: ({ event }) => {
          this.custom = event;
        },
        onRunFinishedEvent: ({ event }) => {
          this.finished = event;
        },
      });
      return null;
    } catch (error) {
      return error.message;
    }
  }

  async compared() {
    const stored = (await (await this.call("GET", "messages")).json()).messages;
    return { messages: JSON.parse(JSON.stringify(this.messages)), stored, events: this.events, failure: this.failure };
  }

  call(method, rest) {
    const url = `${this.url}/${encodeURIComponent(this.threadId)}/${rest}`;
    return fetch(url, { method, headers: { Authorization: `Bearer ${apiKey}` } });
  }
}

async function until(condition, what) {
  const deadline = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// A connection that is cut behind so many pieces of text, once.
function cutting(pieces) {
  let cuts = 1;
  return async (url, options) => {
    const answer = await fetch(url, options);
    if (!answer.body || cuts-- <= 0) return answer;
    let seen = 0;
    const cut = new TransformStream({
      transform(data, controller) {
        seen += new TextDecoder().decode(data).split('"TEXT_MESSAGE_CONTENT"').length - 1;
        if (seen > pieces) controller.error(new TypeError("network error"));
        else controller.enqueue(data);
      },
    });
    return new Response(answer.body.pipeThrough(cut), answer);
  };
}

const scenarios = {
  async whole() {
    const agent = new Agent(agents.echo, "whole / 1");
    agent.say("hello");
    const errors = [await agent.go()];
    agent.say("again");
    errors.push(await agent.go());
    return { errors, finished: agent.finished, ...(await agent.compared()) };
  },
  async tools() {
    const agent = new Agent(agents.tools, "tools");
    agent.say("a table");
    return { error: await agent.go(), ...(await agent.compared()) };
  },
  async citations() {
    const agent = new Agent(agents.knowledge, "citations");
    agent.say("How often must the blue filter be rinsed?");
    return { error: await agent.go(), custom: agent.custom, ...(await agent.compared()) };
  },
  async frontend() {
    const agent = new Agent(agents.frontend, "frontend");
    agent.say("which color?");
    const errors = [await agent.go({ tools })];
    const calls = agent.messages.at(-1).toolCalls;
    agent.addMessage({ id: "result-1", role: "tool", toolCallId: calls[0].id, content: "blue" });
    errors.push(await agent.go({ tools }));
    return { errors, calls, ...(await agent.compared()) };
  },
  async cut() {
    const agent = new Agent(agents.slow, "cut", { fetch: cutting(3) });
    agent.say("hello");
    const error = await agent.go({ runId: "cut-1" });
    const before = JSON.parse(JSON.stringify(agent.messages));
    return { error, before, again: await agent.go({ runId: "cut-1" }), ...(await agent.compared()) };
  },
  async stop() {
    const agent = new Agent(agents.endless, "stop");
    agent.say("hello");
    const running = agent.go();
    await until(() => agent.hasText, "text");
    const second = new Agent(agents.endless, "stop");
    second.say("me too");
    const refused = await second.go();
    const answer = await (await agent.call("POST", "stop")).json();
    return { error: await running, refused, answer, finished: agent.finished, ...(await agent.compared()) };
  },
  async branches() {
    const agent = new Agent(agents.echo, "branches");
    agent.say("one");
    await agent.go();
    agent.say("two");
    await agent.go();
    agent.setMessages(agent.messages.slice(0, 2));
    agent.say("three");
    await agent.go();
    agent.setMessages(agent.messages.slice(0, 1));
    await agent.go();
    return agent.compared();
  },
  async failing() {
    const agent = new Agent(agents.failing, "failing");
    agent.say("hello");
    return { error: await agent.go(), ...(await agent.compared()) };
  },
  async limited() {
    const agent = new Agent(agents.echo, "limited", { key: config.limitedKey });
    agent.say("one");
    await agent.go();
    agent.say("two");
    return { error: await agent.go() };
  },
  // The test kills the worker when it hears of text.
  async death() {
    const agent = new Agent(agents.slow, "death");
    agent.say("hello");
    const running = agent.go();
    await until(() => agent.hasText, "text");
    console.log(JSON.stringify({ text: true }));
    return { error: await running, ...(await agent.compared()) };
  },
};

const seen = {};
for (const name of config.scenarios) seen[name] = await scenarios[name]();
console.log(JSON.stringify(seen));
