// The cases with the official SDK. With `OVER_HTTP2=1` its requests go over HTTP/2.

import { createHash } from "node:crypto";
import { channel } from "node:diagnostics_channel";

import { OpenAI, toFile } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { OpenAIRealtimeWebSocket } from "openai/realtime/websocket";
import { ResponsesWS } from "openai/resources/responses/ws";
import { Agent, install, setGlobalDispatcher } from "undici";
import { z } from "zod";

const MODEL = "gpt-4o";
const HELLO = [
  { role: "system", content: "Be brief, and keep “quotes” and 👋 as they are." },
  { role: "user", content: "Say hello" },
];
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const EVENT = z.object({ name: z.string(), date: z.string(), guests: z.array(z.string()) });

// What node has of undici itself speaks no HTTP/2, and its WebSockets need none.
if (process.env.OVER_HTTP2) {
  const { WebSocket } = globalThis;
  install();
  setGlobalDispatcher(new Agent({ allowH2: true }));
  globalThis.WebSocket = WebSocket;
}

let spoken = null;
channel("undici:client:connected").subscribe(({ connectParams }) => (spoken = connectParams.version));

function open({ base, credential }, options = {}) {
  const headers = "authorization" in credential ? { Authorization: credential.authorization } : {};
  return new OpenAI({
    baseURL: base,
    apiKey: credential.key ?? "never sent",
    defaultHeaders: headers,
    ...options,
  });
}

async function collect(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}

export const cases = {
  models: async (job) => collect(open(job).models.list()),

  chat: async (job) => open(job).chat.completions.create({ model: MODEL, messages: HELLO, temperature: 0.25, seed: 7 }),

  chat_stream: async (job) =>
    collect(
      await open(job).chat.completions.create({
        model: MODEL,
        messages: HELLO,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),

  tools: async (job) => {
    const called = { ...WEATHER.function, parse: JSON.parse, function: ({ city }) => `${city}: 21` };
    const runner = open(job).chat.completions.runTools({
      model: MODEL,
      messages: [{ role: "user", content: "What is the weather in Zürich?" }],
      tools: [{ ...WEATHER, function: called }],
    });
    return { said: await runner.finalContent(), messages: runner.messages };
  },

  structured: async (job) => {
    const completion = await open(job).chat.completions.parse({
      model: MODEL,
      messages: [{ role: "user", content: "Extract the event" }],
      response_format: zodResponseFormat(EVENT, "event"),
    });
    return { whole: completion, parsed: completion.choices[0].message.parsed };
  },

  responses: async (job) => open(job).responses.create({ model: MODEL, input: "Say hello", store: false }),

  responses_stream: async (job) =>
    collect(await open(job).responses.create({ model: MODEL, input: "Say hello", stream: true })),

  responses_socket: async (job) => {
    const socket = new ResponsesWS(open(job));
    return converse(socket, { type: "response.create", model: MODEL, input: "Say hello" }, "response.completed");
  },

  embeddings: async (job) =>
    open(job).embeddings.create({ model: "text-embedding-3-small", input: ["one", "zwei", "三"] }),

  moderations: async (job) => open(job).moderations.create({ input: "Say hello" }),

  images: async (job) => open(job).images.generate({ model: "gpt-image-1", prompt: "A picture", size: "1024x1024" }),

  speech: async (job) => {
    const answer = await open(job).audio.speech.create({ model: "tts-1", voice: "alloy", input: "Read this aloud" });
    return { kind: answer.headers.get("content-type"), bytes: Buffer.from(await answer.arrayBuffer()) };
  },

  transcription: async (job) =>
    open(job).audio.transcriptions.create({
      model: "whisper-1",
      file: await toFile(bytes(100_000), "höre.wav", { type: "audio/wav" }),
    }),

  files: async (job) => {
    const client = open(job);
    const made = await client.files.create({ purpose: "user_data", file: await toFile(bytes(1_000), "bytes.bin") });
    const content = await client.files.content(made.id);
    return {
      made,
      listed: await collect(client.files.list({ purpose: "user_data", limit: 20 })),
      found: await client.files.retrieve(made.id),
      content: Buffer.from(await content.arrayBuffer()),
      deleted: await client.files.delete(made.id),
      gone: await client.files.retrieve(made.id).catch((error) => `${error.constructor.name}: ${error.message}`),
    };
  },

  batches: async (job) => {
    const client = open(job);
    const body = { model: MODEL, messages: HELLO };
    const lines = ["a", "b"].map((id) =>
      JSON.stringify({ custom_id: id, method: "POST", url: "/v1/chat/completions", body }),
    );
    const asked = await toFile(Buffer.from(lines.join("\n")), "b.jsonl");
    const { id } = await client.files.create({ purpose: "batch", file: asked });
    const ofChats = { endpoint: "/v1/chat/completions", completion_window: "24h" };
    const steps = [await client.batches.create({ input_file_id: id, ...ofChats })];
    while (!steps.at(-1).output_file_id && steps.length < 20) steps.push(await client.batches.retrieve(steps[0].id));
    const output = await client.files.content(steps.at(-1).output_file_id);
    return { steps, output: await output.text(), listed: await collect(client.batches.list()) };
  },

  // The 9 MiB that aimock takes.
  upload: async (job) =>
    open(job).files.create({ purpose: "user_data", file: await toFile(bytes(9 << 20), "large.bin") }),

  huge_upload: async (job) =>
    open(job).files.create({ purpose: "user_data", file: await toFile(bytes(64 << 20), "huge.bin") }),

  // The parts go up in another order than they have in the file.
  upload_in_parts: async (job) => {
    const { uploads } = open(job);
    const file = bytes(20 << 20);
    const about = { bytes: file.length, filename: "parts.bin", mime_type: "application/octet-stream" };
    const begun = await uploads.create({ ...about, purpose: "user_data" });
    const parts = [];
    for (const at of [2, 0, 1]) {
      const data = await toFile(file.subarray((at * 8) << 20, ((at + 1) * 8) << 20), "part");
      parts[at] = await uploads.parts.create(begun.id, { data });
    }
    const md5 = createHash("md5").update(file).digest("hex");
    const done = await uploads.complete(begun.id, { part_ids: parts.map(({ id }) => id), md5 });
    return { begun, parts, done, cancelled: await uploads.cancel(begun.id) };
  },

  head: async (job) => {
    const { response } = await open(job).models.list().withResponse();
    return { status: response.status, headers: [...response.headers] };
  },

  protocol: async (job) => {
    await open(job).models.list();
    return spoken;
  },

  refused_request: async (job) => open(job).chat.completions.create({ model: MODEL, messages: HELLO }),

  fails_once: async (job) => open(job).chat.completions.create({ model: MODEL, messages: HELLO }),

  dropped: async (job) =>
    open(job).chat.completions.create(
      { model: MODEL, messages: HELLO },
      { headers: { "x-aimock-chaos-disconnect": "1" } },
    ),

  timed_out: async (job) =>
    open(job, { timeout: 600, maxRetries: 1 }).chat.completions.create(
      { model: MODEL, messages: HELLO },
      { headers: { "x-aimock-chaos-latency": "20000" } },
    ),

  broken_off: async (job) => {
    const stream = await open(job).chat.completions.create({
      model: MODEL,
      messages: [{ role: "user", content: "Break off" }],
      stream: true,
    });
    const all = [];
    try {
      for await (const one of stream) all.push(one);
    } catch (error) {
      return { all, raised: error.constructor.name, message: error.message };
    }
    return { all, raised: null };
  },

  aborted: async (job) => {
    const stream = await open(job).chat.completions.create({
      model: MODEL,
      messages: [{ role: "user", content: "Count slowly" }],
      stream: true,
    });
    const all = [];
    for await (const one of stream) {
      all.push(one);
      if (all.length === 3) stream.controller.abort();
    }
    return all;
  },

  realtime: async (job) => realtime(new OpenAIRealtimeWS({ model: "gpt-realtime" }, open(job))),

  realtime_subprotocol: async (job) => realtime(new OpenAIRealtimeWebSocket({ model: "gpt-realtime" }, open(job))),
};

async function realtime(socket) {
  const opened = new Promise((resolve, reject) => {
    socket.once("session.created", resolve);
    socket.on("error", reject);
  });
  const created = await opened;
  socket.send({
    type: "conversation.item.create",
    item: { type: "message", role: "user", content: [{ type: "input_text", text: "Say hello" }] },
  });
  return [created, ...(await converse(socket, { type: "response.create" }, "response.done"))];
}

// Sends one event and collects what comes until the last one.
function converse(socket, event, last) {
  return new Promise((resolve, reject) => {
    const all = [];
    socket.on("error", (error) => {
      reject(error);
      socket.close();
    });
    socket.on("event", (one) => {
      all.push(one);
      if (one.type === last) {
        resolve(all);
        socket.close();
      }
    });
    socket.send(event);
  });
}

// As many bytes of every value, in an order that shows where one is missing.
function bytes(length) {
  const all = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) all[at] = (at ^ (at >> 8) ^ (at >> 16)) & 0xff;
  return all;
}
