// Opens the page of a keyward that knows a real n8n, and prints a line of JSON each time that a row has another state, or other
// words. It runs until it is ended; what broke a promise of the page is in each line.

import { examine, launch, visit } from "./browser.mjs";
import { until } from "./stage.mjs";

const { browser, close } = await launch();
process.on("SIGTERM", async () => {
  await close();
  process.exit(0);
});
const visitor = await visit(browser, process.env.LINK);
const { page } = visitor;
await until("a live page", async () => (await page.locator("#mark").getAttribute("data-mark")) === "live");
let before = "";
for (;;) {
  const rows = await page.locator("tr[data-state]").evaluateAll((rows) =>
    rows.map((row) => ({ state: row.dataset.state, text: row.closest("tbody").innerText, link: row.querySelector("a[target=_blank]")?.href ?? null })),
  );
  const seen = JSON.stringify(rows);
  if (seen !== before) console.log(JSON.stringify({ at: Date.now(), rows, faults: await examine(visitor) }));
  before = seen;
  await new Promise((done) => setTimeout(done, 10));
}
