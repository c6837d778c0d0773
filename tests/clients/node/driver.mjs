// Does what a program that uses an SDK does, one job after another, and tells what the SDK handed to it.
//
//     node driver.mjs PORT CLIENT
//
// Jobs come as lines of JSON over a connection to PORT: {case, base, credential}. The answer is a line, too: {result}
// or {raised}, what the SDK threw. CLIENT is a module beside this file that has the cases.

import { createHash } from "node:crypto";
import net from "node:net";
import readline from "node:readline";

const [port, client] = process.argv.slice(2);
const { cases } = await import(`./${client}.mjs`);
const socket = net.connect(Number(port), "127.0.0.1");

for await (const line of readline.createInterface({ input: socket })) {
  socket.write(JSON.stringify(await answer(JSON.parse(line)), plain) + "\n");
}

async function answer(job) {
  try {
    return { result: (await cases[job.case](job)) ?? null };
  } catch (error) {
    return { raised: describe(error) };
  }
}

// What a program can see of an error.
function describe(error) {
  const { status, code, type, param, message, requestID, lc_error_code } = error;
  const causes = [];
  for (let cause = error.cause; cause; cause = cause.cause) causes.push(`${cause.name}: ${cause.message}`);
  const [name, request] = [error.constructor.name, Boolean(requestID)];
  return { class: name, status, code, type, param, message, request, labelled: lc_error_code, causes };
}

// Bytes are told by their number and their digest.
function plain(_, value) {
  if (value?.type === "Buffer" && Array.isArray(value.data)) return digest(Buffer.from(value.data));
  return value;
}

function digest(bytes) {
  return { length: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}
