// @ts-check
// Keeps a page of keyward up to date. Without it a page is whole, and as of the moment at which it was opened.

/** What a stream says beside the HTML. @typedef {{ now: number, clock: string }} Now */
/** A line of the log, as far as it is shown. @typedef {{
 *   timestamp: string, diagnosis: string, verdict: string, workflow_id: string | null, workflow_name: string | null,
 *   node_id: string | null, node_name?: string, execution_id: string | null, client: string, hint: string | null,
 *   fingerprint: string | null, method: string, path: string, status: number | null, message?: string
 * }} Line */
/** What makes HTML out of a text. @typedef {{ createHTML(html: string): string }} Policy */

/** The one place where a text becomes HTML: it comes from keyward, which has escaped what is not its own.
 * @type {Policy} */
const policy = trustedPolicy();

const root = document.documentElement;
const started = performance.now();

/** What keyward's clock said, and when it was heard. */
const clock = { said: Number(root.dataset.now ?? Date.now()), heard: started };

root.dataset.script = "";
document.addEventListener("click", copy);
watchPage();
followEvents();
setInterval(tellTimes, 1000);

// === What has changed ===

/** Follows what changes on this page for as long as it is seen. */
function watchPage() {
  const main = document.querySelector("main[data-version]");
  if (!(main instanceof HTMLElement)) return;
  const of = location.pathname + location.search;
  let have = main.dataset.version ?? "";
  /** @type {EventSource | null} */
  let source = null;
  const begin = () => {
    if (source !== null || document.hidden) return;
    source = new EventSource(`/watch?of=${encodeURIComponent(of)}&have=${have}`);
    source.addEventListener("whole", (event) => {
      have = event.lastEventId;
      putWhole(main, event.data);
    });
    source.addEventListener("fragment", (event) => {
      have = event.lastEventId || have;
      putFragment(event.data);
    });
    source.addEventListener("now", (event) => hear(JSON.parse(event.data)));
    source.addEventListener("end", (event) => {
      source?.close();
      source = null;
      mark.end(JSON.parse(event.data).reason === "gone" ? "gone" : "signed out");
    });
    source.addEventListener("error", () => {
      mark.lose();
      // A browser gives up where an answer is none of a stream.
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        refused();
      }
    });
  };
  // A page that is not seen needs no connection: browsers have six for each server.
  const pause = () => {
    source?.close();
    source = null;
    mark.lose();
  };
  const refused = async () => {
    const answer = await fetch("/keys", { method: "HEAD" }).catch(() => null);
    if (answer?.status === 401) mark.end("signed out");
    else setTimeout(begin, 1000);
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : begin()));
  addEventListener("pagehide", pause);
  addEventListener("pageshow", begin);
  begin();
}

/** Puts everything between head and foot anew.
 * @param {Element} main @param {string} html */
function putWhole(main, html) {
  const parsed = parse(html);
  const before = states(main);
  keepOrders(main, parsed);
  keepFocus(() => main.replaceChildren(parsed));
  light(main, before);
}

/** Puts one element in the place of the one with its id.
 * @param {string} html */
function putFragment(html) {
  const parsed = parse(html);
  const element = parsed.firstElementChild;
  const old = element && document.getElementById(element.id);
  if (!element || !old) return;
  const before = states(old);
  keepOrders(old, parsed);
  keepFocus(() => old.replaceWith(element));
  light(element, before);
}

/** @param {string} html @returns {DocumentFragment} */
function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

/** How each row stands, by its id.
 * @param {Element} within @returns {Map<string, string | undefined>} */
function states(within) {
  const rows = [within, ...within.querySelectorAll("[data-state]")];
  return new Map(rows.flatMap((row) => (row instanceof HTMLElement && row.dataset.state ? [[row.id, row.dataset.state]] : [])));
}

/** Rows that people read keep their places: those that were there stay in their order, and new ones come behind them.
 * @param {Element} old @param {DocumentFragment} fresh */
function keepOrders(old, fresh) {
  for (const list of fresh.querySelectorAll("[data-keep], table")) {
    const known = list.id ? document.getElementById(list.id) : old.querySelector(`#${CSS.escape(list.parentElement?.id ?? "")} > table`);
    if (!known) continue;
    const places = new Map([...known.children].map((child, place) => [child.id, place]));
    const place = (/** @type {Element} */ child) => (child.id ? (places.get(child.id) ?? Infinity) : -1);
    const children = [...list.children];
    // The order is stable, so that new ones stay as they came.
    list.append(...children.sort((one, other) => compare(place(one), place(other))));
  }
}

/** @param {number} one @param {number} other */
function compare(one, other) {
  return one === other ? 0 : one - other;
}

/** What has the focus keeps it where it is put anew.
 * @param {() => void} put */
function keepFocus(put) {
  const focused = document.activeElement;
  const href = focused?.getAttribute("href");
  const within = focused?.closest("[id]")?.id;
  const typed = focused instanceof HTMLInputElement && focused.closest("main") ? focused : null;
  put();
  if (focused?.isConnected || !within) return;
  const place = document.getElementById(within);
  const again = typed ? place?.querySelector(`[name="${CSS.escape(typed.name)}"]`) : place?.querySelector(href ? `[href="${CSS.escape(href)}"]` : "button");
  if (again instanceof HTMLInputElement && typed) again.value = typed.value;
  if (again instanceof HTMLElement) again.focus({ preventScroll: true });
}

/** Lights what stands otherwise than before, once.
 * @param {Element} within @param {Map<string, string | undefined>} before */
function light(within, before) {
  for (const [id, state] of states(within)) {
    if (before.get(id) !== state && before.size > 0) document.getElementById(id)?.classList.add("lit");
  }
}

// === Times ===

/** @param {Now} said */
function hear(said) {
  clock.said = said.now;
  clock.heard = performance.now();
  mark.live(said.clock);
  tellTimes();
}

/** Says how long ago each moment was, by keyward's clock. */
function tellTimes() {
  const now = clock.said + (performance.now() - clock.heard);
  for (const time of document.querySelectorAll("time")) {
    const span = now - Date.parse(time.dateTime);
    const text = span < 1000 ? "just now" : `${short(span)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
  mark.tell();
}

/** A span by its largest unit: `3h`.
 * @param {number} span @returns {string} */
function short(span) {
  const seconds = Math.max(0, Math.floor(span / 1000));
  for (const [unit, length] of /** @type {[string, number][]} */ ([["d", 86400], ["h", 3600], ["m", 60]])) {
    if (seconds >= length) return `${Math.floor(seconds / length)}${unit}`;
  }
  return `${seconds}s`;
}

/** Whether the page is as it is now, since when it is not, and as of when it is then. */
const mark = {
  /** @type {number | null} */
  lost: null,
  heard: document.getElementById("mark-text")?.textContent?.replace("as of ", "") ?? "",
  /** @type {string | null} */
  why: null,
  /** @param {string} clock */
  live(clock) {
    this.lost = this.why = null;
    this.heard = clock;
    this.show("live", "live");
  },
  lose() {
    this.lost ??= performance.now();
    this.tell();
  },
  /** @param {string} why */
  end(why) {
    this.why = why;
    this.show("lost", `as of ${this.heard}`);
    const text = why === "gone" ? "What this page showed is not there any more." : "This session has ended: run keyward open for another link.";
    say(text);
  },
  tell() {
    if (this.lost === null || this.why !== null) return;
    const since = short(performance.now() - this.lost);
    this.show("lost", `reconnecting since ${since}, as of ${this.heard}`);
  },
  /** @param {string} state @param {string} text */
  show(state, text) {
    const [element, shown] = [document.getElementById("mark"), document.getElementById("mark-text")];
    if (!element || !shown) return;
    element.dataset.mark = state;
    if (shown.textContent !== text) shown.textContent = text;
  },
};

// === Commands to copy ===

/** @param {Event} event */
async function copy(event) {
  const button = event.target instanceof Element ? event.target.closest("button[data-copy]") : null;
  if (!(button instanceof HTMLButtonElement)) return;
  const text = button.dataset.copy ?? "";
  const label = button.firstChild;
  try {
    await navigator.clipboard.writeText(text);
    if (label) label.nodeValue = "Copied";
    say(`Copied: ${text}`);
  } catch {
    // Browsers copy for pages of this machine and of HTTPS alone.
    const code = button.previousElementSibling;
    if (code) getSelection()?.selectAllChildren(code);
    if (label) label.nodeValue = "Press Ctrl+C";
  }
  setTimeout(() => label && (label.nodeValue = "Copy"), 2000);
}

/** Says it to those who do not see it as well.
 * @param {string} text */
function say(text) {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
}

// === Requests as they end ===

/** How many requests the list holds. */
const MOST_ROWS = 200;

/** Follows the requests where the page shows them. */
function followEvents() {
  const section = document.querySelector("[data-events]");
  const form = document.getElementById("filters");
  const rows = document.getElementById("rows");
  const pause = document.getElementById("pause");
  const said = document.getElementById("events-said");
  if (!(section instanceof HTMLElement && form instanceof HTMLFormElement && rows && pause && said)) return;
  /** @type {EventSource | null} */
  let source = null;
  let count = 0;
  let paused = false;
  /** @type {Line[]} */
  const held = [];
  const tell = () => {
    const waits = paused ? `; ${held.length} wait` : "";
    said.textContent = count === 0 && held.length === 0 ? "Nothing came yet." : `${count} came${waits}.`;
  };
  const show = (/** @type {Line} */ line) => {
    count += 1;
    rows.prepend(rowOf(line));
    while (rows.children.length > MOST_ROWS) rows.lastElementChild?.remove();
  };
  const begin = () => {
    source?.close();
    const asked = new FormData(form);
    const only = asked.get("bad") !== null;
    asked.delete("bad");
    const pairs = [...asked].filter(([, value]) => value !== "").map(([name, value]) => [name, String(value)]);
    source = new EventSource(`${section.dataset.events}?${new URLSearchParams(pairs)}`);
    source.addEventListener("exchange", (event) => {
      /** @type {Line} */
      const line = JSON.parse(event.data);
      if (only && line.diagnosis === "ok") return;
      if (paused) held.splice(0, Math.max(0, held.push(line) - MOST_ROWS));
      else show(line);
      tell();
    });
    source.addEventListener("lost", (event) => say(`${JSON.parse(event.data).lost} came too fast to be shown.`));
    source.addEventListener("end", () => source?.close());
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    rows.replaceChildren();
    [count, held.length] = [0, 0];
    tell();
    begin();
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) held.splice(0).forEach(show);
    tell();
  });
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => event.persisted && begin());
  begin();
}

/** @param {Line} line @returns {HTMLTableRowElement} */
function rowOf(line) {
  const row = document.createElement("tr");
  const workflow = line.workflow_name ?? line.workflow_id;
  const node = line.node_name ?? line.node_id;
  const who = workflow ? [workflow, node].filter(Boolean).join(", ") : `${line.client} client`;
  const isGood = line.diagnosis === "ok";
  const diagnosis = element("code", line.diagnosis, isGood ? "good" : "bad");
  if (line.message) diagnosis.title = line.message;
  const named = element("bdi", who);
  const cells = [
    [named, line.execution_id ? linkTo(line.execution_id) : ""],
    [diagnosis],
    [line.status === null ? "none" : String(line.status)],
    [element("code", line.hint ?? line.fingerprint ?? "no key", "key")],
    [element("code", `${line.method} ${line.path}`)],
  ];
  const at = document.createElement("th");
  at.scope = "row";
  at.textContent = new Date(line.timestamp).toLocaleTimeString();
  row.append(at);
  cells.forEach((parts, place) => {
    const cell = document.createElement("td");
    if (place > 2) cell.className = "wide";
    cell.append(...parts.flatMap((part) => [part, " "]));
    row.append(cell);
  });
  return row;
}

/** @param {string} execution @returns {HTMLAnchorElement} */
function linkTo(execution) {
  const link = document.createElement("a");
  link.href = `/execution?id=${encodeURIComponent(execution)}`;
  link.textContent = `#${execution}`;
  return link;
}

/** @param {string} name @param {string} text @param {string} [className] @returns {HTMLElement} */
function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** @returns {Policy} */
function trustedPolicy() {
  const given = /** @type {{ trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } }} */ (globalThis);
  const rules = { createHTML: (/** @type {string} */ html) => html };
  return given.trustedTypes?.createPolicy("keyward", rules) ?? rules;
}
