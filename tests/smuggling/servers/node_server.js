// Says of each request what it was: in its answer, and as a line of the file that is named. Prints its port.

const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");

const SHOWN = ["authorization", "host", "x-case"];
const record = fs.openSync(process.argv[2], "a");

const server = http.createServer((request, answer) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    const raw = request.rawHeaders;
    const headers = raw.flatMap((name, at) => (at % 2 ? [] : [[name.toLowerCase(), raw[at + 1]]]));
    const seen = {
      method: request.method,
      target: request.url,
      headers,
      length: body.length,
      digest: crypto.createHash("sha256").update(body).digest("hex"),
    };
    const line = JSON.stringify(seen);
    fs.writeSync(record, line + "\n");
    const shown = headers.filter(([name]) => SHOWN.includes(name));
    // keyward lets no header out that shows the key that it put in.
    answer.setHeader("X-Saw", Buffer.from(JSON.stringify({ ...seen, headers: shown })).toString("base64"));
    answer.end(line);
  });
});
server.keepAliveTimeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
server.maxHeadersCount = 0;
server.listen(0, "127.0.0.1", () => fs.writeFileSync(process.argv[3], String(server.address().port)));
