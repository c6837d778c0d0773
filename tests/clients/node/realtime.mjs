// A Realtime API as far as a short talk goes, on the WebSocket server that others wrote: it takes keys as OpenAI does, in
// `Authorization` or in a subprotocol.
//
//     KEYS="KEY KEY" node realtime.mjs
//
// It says on which port it listens.

import { WebSocketServer } from "ws";

const KEYS = new Set(process.env.KEYS.split(" "));
const IN_SUBPROTOCOL = "openai-insecure-api-key.";
const REFUSAL = { message: "Incorrect API key provided.", type: "invalid_request_error", code: "invalid_api_key" };

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  verifyClient: ({ req }, decide) => {
    const head = { "Content-Type": "application/json" };
    if (KEYS.has(credential(req.headers))) decide(true);
    else decide(false, 401, JSON.stringify({ error: REFUSAL }), head);
  },
  handleProtocols: (offered) => offered.has("realtime") && "realtime",
});

function credential({ authorization = "", "sec-websocket-protocol": offered = "" }) {
  const inSubprotocol = offered.split(",").find((one) => one.trim().startsWith(IN_SUBPROTOCOL));
  return authorization.replace(/^Bearer /, "") || inSubprotocol?.trim().slice(IN_SUBPROTOCOL.length);
}

server.on("connection", (socket, { url }) => {
  const say = (type, more) => socket.send(JSON.stringify({ type, ...more }));
  const model = new URL(url, "ws://localhost").searchParams.get("model");
  say("session.created", { session: { type: "realtime", model } });
  socket.on("message", (data) => {
    const event = JSON.parse(data);
    if (event.type === "conversation.item.create") say("conversation.item.added", { item: event.item });
    if (event.type !== "response.create") return;
    for (const delta of ["Hel", "lo, ", "“you” 👋"]) say("response.output_text.delta", { delta });
    say("response.done", { response: { object: "realtime.response", status: "completed" } });
  });
});

server.on("listening", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
