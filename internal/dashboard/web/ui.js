// The pieces that screens share: states, tables, questions, messages.
import { el, svg, put, ago } from "./lib.js";
import { pause } from "./call.js";

// Each state is a word and a shape, so that neither colour nor sight is needed.
const shapes = {
  live: ["good", "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z"],
  updating: ["busy", "M8 2a6 6 0 1 0 0 12V2z"],
  idle: ["calm", "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z"],
  stopped: ["calm", "M3 3h10v10H3z"],
  degraded: ["warn", "M8 2l6.5 12h-13z"],
  failed: ["bad", "M4 2l4 4 4-4 2 2-4 4 4 4-2 2-4-4-4 4-2-2 4-4-4-4z"],
};

// Other words, by the state that they look like.
const like = {
  ready: "live", succeeded: "live", completed: "live", active: "live", delivered: "live", normal: "live", allow: "live", allowed: "live", permitted: "live", done: "live", available: "live",
  running: "updating", creating: "updating", not_ready: "updating", pending: "updating", retrying: "updating", queued: "idle", delayed: "idle", enqueuing: "updating",
  ready_out_of_date: "updating", cancelling: "updating", terminating: "updating", cancelled: "stopped", expired: "stopped", superseded: "stopped", paused: "stopped", suspended: "stopped", skipped: "stopped",
  warning: "degraded", refused: "failed", err_image_pull: "failed", killed: "failed", killed_oom: "failed", stalled: "failed", denied: "failed", deny: "failed", forbidden: "failed", error: "failed", worker_error: "failed", timed_out: "failed", completed_with_failures: "degraded", unexpected_error: "failed", gave_up: "failed",
};

export function chip(word, title) {
  const key = shapes[word] ? word : like[word] || (/fail|error|oom|timeout/.test(word) ? "failed" : "idle");
  const [tone, path] = shapes[key];
  return el("span", { class: "chip " + tone, title }, svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path })), el("span", {}, word.replaceAll("_", " ")));
}

// stateOf is the word for a deployed API.
export function stateOf(api) {
  if (api.refused && !api.status) return "refused";
  if (api.status) return api.status.phase;
  if (api.running_jobs !== undefined) return api.running_jobs > 0 ? "running" : "idle";
  return "live";
}

// Those in trouble come first.
const order = ["failed", "refused", "degraded", "updating", "live", "running", "idle", "stopped"];
export function trouble(api) {
  const i = order.indexOf(stateOf(api));
  return api.refused || api.status?.warning ? Math.min(i, 2) : i;
}

// problem shows why something cannot be shown.
export function problem(e) {
  return el("div", { class: "notice bad", role: "alert" }, el("p", {}, el("strong", {}, sentence(e.message))), e.hint ? el("p", {}, sentence(e.hint)) : null);
}

function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}

export function empty(text, ...rest) {
  return el("p", { class: "empty" }, text, ...rest);
}

// toast says what became of something.
export function toast(text, bad) {
  const t = el("p", { class: bad ? "toast bad" : "toast" }, text);
  document.getElementById("said").append(t);
  setTimeout(() => t.remove(), bad ? 12000 : 6000);
}

// ask asks once more before something is done, does it, and says what came of it.
// Extra is what the question has besides its text.
export function ask({ title, text, verb, danger, extra, act }) {
  const go = el("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const why = el("div");
  const form = el("form", { method: "dialog" },
    el("h2", { id: "ask-title" }, title), text ? el("p", {}, text) : null, extra || null, why,
    el("div", { class: "row end" }, el("button", { type: "button", onclick: () => box.close() }, "Leave it"), go));
  const box = el("dialog", { "aria-labelledby": "ask-title", onclose: () => box.remove() }, form);
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    go.disabled = true;
    try {
      const said = await act(new FormData(form));
      box.close();
      toast(said || "Done");
    } catch (x) {
      put(why, problem(x));
      go.disabled = false;
    }
  });
  document.body.append(box);
  box.showModal();
  go.focus();
}

// button asks before it acts.
export function button(label, question, props) {
  return el("button", { type: "button", ...props, onclick: () => ask(question()) }, label);
}

// table is a table with a caption for those who hear it, and rows that can be scrolled to.
export function table(caption, heads, rows, none) {
  if (rows.length === 0) return empty(none || "There is nothing here yet.");
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "heard" }, caption),
      el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col", class: h.num ? "num" : null }, h.text || h)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((c, i) => el(i ? "td" : "th", { scope: i ? null : "row", class: heads[i]?.num ? "num" : null }, c ?? "")))))));
}

// field is a labelled control.
export function field(label, control, hint) {
  const id = "f" + field.n++;
  control.id = id;
  return el("div", { class: "field" }, el("label", { for: id }, label), control, hint ? el("small", {}, hint) : null);
}
field.n = 1;

// facts is a list of names and values; those without a value are left out.
export function facts(all) {
  return el("dl", { class: "facts" }, all.filter(([, v]) => v !== null && v !== undefined && v !== "").map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v))));
}

export function card(title, ...rest) {
  return el("section", { class: "card" }, title ? el("h2", {}, title) : null, ...rest);
}

// tabs links to the parts of a screen.
export function tabs(base, parts, chosen) {
  return el("nav", { class: "tabs", "aria-label": "Parts" }, el("ul", {}, parts.map(([id, text]) => el("li", {}, el("a", { href: base + (id ? "/" + id : ""), "aria-current": id === chosen ? "page" : null }, text)))));
}

// every calls fn now and then, while the page is seen.
export async function every(ms, signal, root, fn) {
  while (!signal.aborted) {
    try {
      if (!document.hidden) await fn();
    } catch (e) {
      if (signal.aborted) return;
      put(root, problem(e));
    }
    await pause(ms, signal);
  }
}

// attempts is what was tried, as a timeline.
export function attempts(all) {
  if (!all?.length) return el("p", { class: "quiet" }, "It was not tried yet.");
  return el("ol", { class: "timeline" }, all.map((t) => el("li", {}, chip(t.outcome || "running"), el("strong", {}, `attempt ${t.n}`), el("span", {}, ago(t.started_at), t.duration ? ` for ${t.duration}` : "", t.http_status ? `, status ${t.http_status}` : "", t.exit_code !== undefined ? `, exit code ${t.exit_code}` : "", t.replica ? `, on ${t.replica}` : ""), t.reason ? el("p", {}, t.reason.message) : null)));
}
