// What stands around the page: what stands in for OpenAI and for n8n, a keyward on a folder of its own, and requests of nodes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { join } from "node:path";

const BEFORE = "2026-01-01T00:00:00.000Z";

/** Keys with a middle that must be on no page: only what is before and behind it may be shown. */
export const CANARY = "cAnArYcAnArYcAnArY";
export const OLD = `sk-proj-${CANARY}0123456789OLD1`;
export const NEW = `sk-proj-${CANARY}0123456789NEW2`;
export const STRANGE = `sk-proj-${CANARY}0123456789ODD3`;

/** Waits until a condition gives something. */
export async function until(what, condition, patience = 20_000) {
  const end = performance.now() + patience;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > end) throw new Error(`waited ${patience} ms in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Stands in for OpenAI: takes the keys that it knows. */
export class Upstream {
  keys = new Set([OLD, NEW]);

  async open() {
    this.server = http.createServer((request, response) => {
      request.resume();
      const key = (request.headers.authorization ?? "").replace("Bearer ", "");
      if (this.keys.has(key)) return response.setHeader("content-type", "application/json").end('{"object":"list","data":[]}');
      response.statusCode = 401;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ error: { message: "Incorrect API key provided.", type: "invalid_request_error", param: null, code: "invalid_api_key" } }));
    });
    this.url = await listen(this.server);
    return this;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** Stands in for n8n's API: has these workflows, each with nodes that use one credential. */
export class N8n {
  constructor(workflows) {
    this.workflows = workflows;
  }

  async open() {
    this.server = http.createServer((request, response) => {
      request.resume();
      const path = new URL(request.url, "http://n8n").pathname;
      const lists = { workflows: this.workflows, executions: [], credentials: [{ id: "cred1", name: "OpenAI account", type: "openAiApi", createdAt: BEFORE, updatedAt: BEFORE }] };
      const data = lists[path.replace("/api/v1/", "")];
      response.statusCode = data ? 200 : 404;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(data ? { data, nextCursor: null } : { message: "not found" }));
    });
    this.url = await listen(this.server);
    return this;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** A workflow as n8n's API tells it. */
export function workflow(id, name, nodes) {
  const node = ([nodeId, nodeName]) => ({
    id: nodeId,
    name: nodeName,
    type: "@n8n/n8n-nodes-langchain.openAi",
    typeVersion: 1.8,
    position: [0, 0],
    parameters: {},
    credentials: { openAiApi: { id: "cred1", name: "OpenAI account" } },
  });
  const trigger = { id: `${id}-t`, name: "Every hour", type: "n8n-nodes-base.scheduleTrigger", typeVersion: 1.2, position: [0, 0], parameters: {} };
  return { id, name, active: true, isArchived: false, nodes: [trigger, ...nodes.map(node)], connections: {}, settings: {}, createdAt: BEFORE, updatedAt: BEFORE };
}

async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${server.address().port}`;
}

/** A port that the system chose. A keyward that is started again has to come back on it. */
async function freePort() {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A keyward with one key set, in a folder of its own. */
export class Keyward {
  constructor(folder, upstream, { n8n, settings = "", grace = "0s" } = {}) {
    mkdirSync(folder, { recursive: true });
    Object.assign(this, { folder, upstream, n8n, settings, grace });
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 48 });
    this.write("key", OLD);
  }

  write(name, text) {
    writeFileSync(join(this.folder, `${name}.new`), text, { mode: 0o600 });
    renameSync(join(this.folder, `${name}.new`), join(this.folder, name));
  }

  async start() {
    this.port ??= await freePort();
    this.adminPort ??= await freePort();
    const { folder } = this;
    if (this.n8n) this.write("n8n.key", "n8n-api-key-of-the-page");
    const n8n = this.n8n ? `[n8n.main]\nurl = "${this.n8n.url}"\napi_key = { file = "${folder}/n8n.key" }\n` : "";
    this.write(
      "keyward.toml",
      `[proxy]\nlisten = "127.0.0.1:${this.port}"\nupstream = "${this.upstream.url}"\nworkers = 1\n` +
        `[keys.default]\ncurrent = { file = "${folder}/key" }\ngrace = "${this.grace}"\n` +
        `[log]\nformat = "json"\nfile = "${folder}/log"\n[admin]\nlisten = "127.0.0.1:${this.adminPort}"\n` +
        `[state]\ndir = "${folder}/state"\n${n8n}${this.settings}`,
    );
    rmSync(join(folder, "log"), { force: true });
    this.child = start(["serve", "--config", join(folder, "keyward.toml")], folder);
    this.admin = `http://127.0.0.1:${this.adminPort}`;
    await until("keyward", async () => (await fetch(`${this.admin}/healthz`).catch(() => null))?.ok);
    return this;
  }

  /** Gives how many milliseconds it took to end. */
  async stop() {
    const began = performance.now();
    await end(this.child);
    return performance.now() - began;
  }

  /** How many milliseconds of processor time it has taken so far: what a busy machine lets it wait does not count. */
  cpu() {
    const tasks = `/proc/${this.child.pid}/task`;
    const nanoseconds = readdirSync(tasks).map((task) => Number(readFileSync(join(tasks, task, "schedstat"), "utf8").split(" ")[0]));
    return nanoseconds.reduce((sum, one) => sum + one, 0) / 1e6;
  }

  log() {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  /** Puts another key where the current one stands, and waits until keyward has it. */
  async rotate(key) {
    this.write("key", key);
    await until("the new key", () => this.log().includes("has a new current key"));
  }

  /** Runs a command; gives what it prints. */
  async run(...words) {
    const child = start([...words, "--config", join(this.folder, "keyward.toml")], this.folder, "pipe");
    let said = "";
    child.stdout.on("data", (piece) => (said += piece));
    await once(child, "exit");
    return said.trim();
  }

  link() {
    return this.run("open");
  }

  /** A request of a node, to the end of its answer. */
  send(tag, key) {
    const headers = { "X-N8N-Tag": tag, ...(key === null ? {} : { Authorization: `Bearer ${key}` }) };
    return new Promise((done, fail) => {
      const request = http.get({ port: this.port, host: "127.0.0.1", path: "/v1/models", headers, agent: this.agent }, (answer) => {
        answer.resume().on("end", () => done(answer.statusCode)).on("error", fail);
      });
      request.on("error", fail);
    });
  }
}

const children = new Set();

/** Starts the binary under test. */
export function start(words, folder, stdout = "ignore") {
  const child = spawn(process.env.BINARY, words, { cwd: folder, stdio: ["ignore", stdout, "ignore"] });
  children.add(child);
  child.on("exit", () => children.delete(child));
  return child;
}

/** Ends one that was started here. */
export async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}

/** Ends all that were started here and run still. */
export function endAll() {
  return Promise.all([...children].map(end));
}
