// A browser that holds each page to what all of them promise: nothing from elsewhere, no report of the policy, no error, no key.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

import { CANARY } from "./stage.mjs";

const require = createRequire(`${process.env.PACKAGES}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  return { browser, close: () => browser.close() };
}

/** A visitor of a keyward, let in by a link. What breaks a promise is kept in `faults`. */
export async function visit(browser, link, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const origin = new URL(link).origin;
  const faults = [];
  const bodies = [];
  // Heard by the page itself, before any script of it runs.
  await context.addInitScript(() => {
    globalThis.reports = [];
    document.addEventListener("securitypolicyviolation", (event) => globalThis.reports.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) faults.push(`a request to ${request.url()}`);
  });
  context.on("response", (response) => bodies.push(look(response, faults)));
  const page = await context.newPage();
  page.on("console", (message) => {
    // A connection that breaks off is told on the console whatever a page does about it.
    if (message.type() === "error" && !/ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|Failed to load resource/.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  await page.goto(link);
  await page.waitForURL(`${origin}/`);
  return { context, page, origin, faults, looked: () => Promise.all(bodies) };
}

async function look(response, faults) {
  if (response.url().includes("/watch") || response.url().includes("/events")) return;
  const body = await response.text().catch(() => "");
  if (body.includes(CANARY)) faults.push(`a key in ${response.url()}`);
}

/** What is wrong with the page as it is shown now. */
export async function examine(visitor) {
  const { page, faults } = visitor;
  const found = [...faults];
  found.push(...(await page.evaluate(() => globalThis.reports)).map((report) => `policy: ${report}`));
  const html = await page.content();
  if (html.includes(CANARY)) found.push(`a key on ${page.url()}`);
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (width[0] > width[1]) found.push(`${page.url()} is ${width[0]} wide where there are ${width[1]}`);
  const cut = await page.evaluate(() => [...document.querySelectorAll(".card table")].filter((table) => table.getBoundingClientRect().right > table.closest(".card").getBoundingClientRect().right).length);
  if (cut > 0) found.push(`${page.url()}: ${cut} tables are wider than what they stand in, at ${width[1]}`);
  return found;
}

/** What axe-core finds. */
export async function accessibility(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
  });
  return found;
}
