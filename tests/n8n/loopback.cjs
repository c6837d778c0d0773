// Loaded into an n8n before all else: it finds no address but the machine's own.  Its Agents fetch a list of models from a
// server elsewhere, which no setting of n8n's turns off.
const dns = require("node:dns");

const own = dns.lookup;

dns.lookup = function lookup(name, ...rest) {
  if (["localhost", "127.0.0.1", "::1"].includes(name)) return own(name, ...rest);
  const error = Object.assign(new Error(`${name} is not looked up here`), { code: "ENOTFOUND", hostname: name });
  process.nextTick(rest.at(-1), error);
};
