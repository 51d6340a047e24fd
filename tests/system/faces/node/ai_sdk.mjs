// The AI SDK's chat over the running stack, with the major version that the configuration names.
import { readFileSync } from "node:fs";

const config = JSON.parse(readFileSync(0, "utf8"));
const { baseURL, apiKey, major, agents } = config;
const { AbstractChat, DefaultChatTransport } = await import(`ai${major}`);
const toolCalls = [];

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(agent, id, { fetch = globalThis.fetch, key = apiKey } = {}) {
    const headers = { Authorization: `Bearer ${key}`, "x-ai-sdk-version": String(major) };
    const transport = new DefaultChatTransport({ api: `${baseURL}/agents/${agent}/ui/chat`, headers, fetch });
    super({ id, transport, state: new State(), onToolCall: ({ toolCall }) => toolCalls.push(toolCall) });
  }
}

const plain = (value) => JSON.parse(JSON.stringify(value));
const told = (chat) => ({ status: chat.status, error: chat.error?.message, messages: plain(chat.messages) });
const textOf = (message) => message.parts.map((part) => part.text ?? "").join("");

async function call(method, agent, id, rest) {
  const url = `${baseURL}/agents/${agent}/ui/chat/${encodeURIComponent(id)}/${rest}`;
  return fetch(url, { method, headers: { Authorization: `Bearer ${apiKey}` } });
}

// What the chat ends with, and what is stored.
async function compared(chat, agent) {
  return { ...told(chat), stored: (await (await call("GET", agent, chat.id, "messages")).json()).messages };
}

async function until(condition, what) {
  const deadline = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// A connection that is cut behind so many pieces of text, once. Node calls it "terminated" and browsers a "network error",
// after which ai@5 keeps what it has and puts the resumed answer behind it; only ai@6 and 7 take that answer instead.
const lost = major === 5 ? "terminated" : "network error";

function cutting(pieces) {
  let cuts = 1;
  return async (url, options) => {
    const answer = await fetch(url, options);
    if (!answer.body || cuts-- <= 0) return answer;
    let seen = 0;
    const cut = new TransformStream({
      transform(data, controller) {
        seen += new TextDecoder().decode(data).split('"text-delta"').length - 1;
        if (seen > pieces) controller.error(new TypeError(lost));
        else controller.enqueue(data);
      },
    });
    return new Response(answer.body.pipeThrough(cut), answer);
  };
}

const scenarios = {
  async whole() {
    const chat = new Chat(agents.echo, "whole / 1");
    await chat.sendMessage({ text: "hello" });
    await chat.sendMessage({ text: "again" });
    return compared(chat, agents.echo);
  },
  async tools() {
    const chat = new Chat(agents.tools, "tools");
    await chat.sendMessage({ text: "a table" });
    return { ...(await compared(chat, agents.tools)), toolCalls };
  },
  async citations() {
    const chat = new Chat(agents.knowledge, "citations");
    await chat.sendMessage({ text: "How often must the blue filter be rinsed?" });
    return compared(chat, agents.knowledge);
  },
  async cut() {
    const chat = new Chat(agents.slow, "cut", { fetch: cutting(3) });
    await chat.sendMessage({ text: "hello" });
    const before = told(chat);
    await chat.resumeStream();
    return { before, ...(await compared(chat, agents.slow)) };
  },
  async reload() {
    const chat = new Chat(agents.slow, "reload");
    const sending = chat.sendMessage({ text: "hello" });
    await until(() => chat.lastMessage?.role === "assistant" && textOf(chat.lastMessage), "text");
    await chat.stop();
    await sending;
    const fresh = new Chat(agents.slow, "reload");
    fresh.messages = (await (await call("GET", agents.slow, "reload", "messages")).json()).messages;
    await fresh.resumeStream();
    // Mounted again after the end: the last turn is told again, and nothing changes.
    await fresh.resumeStream();
    const nothing = (await call("GET", agents.slow, "never", "stream")).status;
    return { ...(await compared(fresh, agents.slow)), nothing };
  },
  async stop() {
    const chat = new Chat(agents.endless, "stop");
    const sending = chat.sendMessage({ text: "hello" });
    await until(() => chat.lastMessage?.role === "assistant" && textOf(chat.lastMessage), "text");
    const second = new Chat(agents.endless, "stop");
    await second.sendMessage({ text: "me too" });
    const answer = await (await call("POST", agents.endless, "stop", "stop")).json();
    await sending;
    return { refused: told(second).error, answer, ...(await compared(chat, agents.endless)) };
  },
  async branches() {
    const chat = new Chat(agents.echo, "branches");
    await chat.sendMessage({ text: "one" });
    const first = chat.lastMessage.id;
    await chat.regenerate();
    const second = chat.lastMessage.id;
    await chat.regenerate({ messageId: second });
    await chat.sendMessage({ text: "two", messageId: chat.messages[0].id });
    return { first, second, ...(await compared(chat, agents.echo)) };
  },
  async failing() {
    const chat = new Chat(agents.failing, "failing");
    await chat.sendMessage({ text: "hello" });
    return compared(chat, agents.failing);
  },
  async limited() {
    const chat = new Chat(agents.echo, "limited", { key: config.limitedKey });
    await chat.sendMessage({ text: "one" });
    await chat.sendMessage({ text: "two" });
    return told(chat);
  },
  // The test kills the worker when it hears of text.
  async death() {
    const chat = new Chat(agents.slow, "death");
    const sending = chat.sendMessage({ text: "hello" });
    await until(() => chat.lastMessage?.role === "assistant" && textOf(chat.lastMessage), "text");
    console.log(JSON.stringify({ turnId: chat.lastMessage.id }));
    await sending;
    const before = told(chat);
    if (chat.status === "error") await chat.resumeStream();
    return { before, ...(await compared(chat, agents.slow)) };
  },
};

const seen = {};
for (const name of config.scenarios) seen[name] = await scenarios[name]();
console.log(JSON.stringify(seen));
