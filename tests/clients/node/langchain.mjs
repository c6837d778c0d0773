// The cases with LangChain, the library that n8n's own nodes are made of.

import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, DallEAPIWrapper, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";

const WEATHER = tool(({ city }) => `${city}: 21`, {
  name: "get_weather",
  description: "The weather in a city",
  schema: z.object({ city: z.string() }),
});
const EVENT = z.object({ name: z.string(), date: z.string(), guests: z.array(z.string()) });

function settings({ base, credential }) {
  const apiKey = credential.key ?? "never sent";
  if (!("authorization" in credential)) return { apiKey, configuration: { baseURL: base } };
  // Unlike the SDK, it has no way to leave a header out.
  const options = credential.authorization
    ? { defaultHeaders: { Authorization: credential.authorization } }
    : { fetch: withoutAuthorization };
  return { apiKey, configuration: { baseURL: base, ...options } };
}

function withoutAuthorization(address, init) {
  const headers = new Headers(init.headers);
  headers.delete("authorization");
  return fetch(address, { ...init, headers });
}

function open(job, options = {}) {
  const { configuration, ...rest } = settings(job);
  const { headers, ...others } = options;
  configuration.defaultHeaders = { ...configuration.defaultHeaders, ...headers };
  return new ChatOpenAI({ model: "gpt-4o", temperature: 0.25, configuration, ...rest, ...others });
}

async function collect(stream) {
  const all = [];
  for await (const one of await stream) all.push(one);
  return all;
}

export const cases = {
  chat: async (job) => open(job).invoke("Say hello, and keep “quotes” and 👋"),

  chat_stream: async (job) => collect(open(job).stream("Say hello")),

  tools: async (job) => {
    const model = open(job).bindTools([WEATHER]);
    const question = new HumanMessage("What is the weather in Zürich?");
    const asked = await model.invoke([question]);
    const [call] = asked.tool_calls;
    const result = new ToolMessage({ content: await WEATHER.invoke(call.args), tool_call_id: call.id });
    return [asked, await model.invoke([question, asked, result])];
  },

  structured: async (job) => open(job).withStructuredOutput(EVENT, { includeRaw: true }).invoke("Extract the event"),

  responses: async (job) => open(job, { useResponsesApi: true }).invoke("Say hello"),

  responses_stream: async (job) => collect(open(job, { useResponsesApi: true }).stream("Say hello")),

  embeddings: async (job) =>
    new OpenAIEmbeddings({ model: "text-embedding-3-small", ...settings(job) }).embedDocuments(["one", "zwei", "三"]),

  images: async (job) => {
    // It takes no `configuration`.
    const options = { baseUrl: job.base, apiKey: job.credential.key, dallEResponseFormat: "b64_json" };
    return new DallEAPIWrapper({ model: "gpt-image-1", ...options }).invoke("A picture");
  },

  refused_request: async (job) => open(job).invoke("Say hello"),

  fails_once: async (job) => open(job, { maxRetries: 2 }).invoke("Say hello"),

  dropped: async (job) =>
    open(job, { maxRetries: 1, headers: { "x-aimock-chaos-disconnect": "1" } }).invoke("Say hello"),

  timed_out: async (job) =>
    open(job, { timeout: 600, maxRetries: 0, headers: { "x-aimock-chaos-latency": "20000" } }).invoke("Say hello"),

  aborted: async (job) => {
    const controller = new AbortController();
    const all = [];
    try {
      for await (const one of await open(job).stream("Count slowly", { signal: controller.signal })) {
        all.push(one);
        if (all.length === 3) controller.abort();
      }
    } catch (error) {
      return { all, raised: error.name };
    }
    return { all, raised: null };
  },
};
