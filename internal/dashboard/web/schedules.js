// What is due when, and what became of it: of one API, or of all.
import { el, put, ago, span, count } from "./lib.js";
import { get, send, at, everything, pause } from "./call.js";
import { chip, button, card, problem, empty, facts } from "./ui.js";

export default async function schedules(root, [name], { signal }) {
  const body = el("div", {}, el("p", { class: "quiet" }, "Reading…"));
  if (!name) put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Schedules"), el("p", { class: "sum" }, "The next times of each, and its latest runs."))));
  root.append(body);
  while (!signal.aborted) {
    try {
      if (!name && !everything.known) { await pause(300, signal); continue; }
      const names = name ? [name] : [...everything.apis.values()].filter((a) => ["AsyncAPI", "BatchAPI", "TaskAPI"].includes(a.kind)).map((a) => a.name).slice(0, 200);
      const all = (await Promise.all(names.map((n) => get(at(n, "schedules"), signal)))).flat();
      const key = JSON.stringify(all) + Math.floor(Date.now() / 15000);
      if (body.dataset.key !== key) {
        body.dataset.key = key;
        put(body, all.length ? all.map((s) => one(s)) : empty("No API has a schedule. ", el("code", {}, "schedules"), " in a cortex.yaml has one."));
      }
    } catch (e) {
      if (signal.aborted) return;
      put(body, problem(e));
    }
    await pause(3000, signal);
  }
}

function one(s) {
  const act = (verb, text) => async () => { await send("POST", at(s.api, "schedules", s.name, verb)); return text; };
  const runs = (s.runs || []).slice(0, 10);
  const id = (r) => (!r.id ? "" : el("a", { href: `#/api/${encodeURIComponent(s.api)}/${everything.apis.get(s.api)?.kind === "AsyncAPI" ? "items" : "jobs"}/${encodeURIComponent(r.id)}` }, r.id));
  return card(null, el("div", { class: "head" }, el("h2", {}, el("a", { href: `#/api/${encodeURIComponent(s.api)}/schedules` }, s.api), " / ", s.name, " ", chip(s.state)), el("div", { class: "row" },
    button("Run now", () => ({ title: `Begin a run of ${s.name} now?`, text: "Whatever else is under way.", verb: "Run it", act: act("run", "It has begun") })),
    s.state === "active" ? button("Pause", () => ({ title: `Pause ${s.name}?`, text: "What is under way goes on.", verb: "Pause it", act: act("pause", "Paused") })) : null,
    s.state === "paused" ? button("Resume", () => ({ title: `Resume ${s.name}?`, text: "What was due in between is not begun.", verb: "Resume it", act: act("resume", "Resumed") }), { class: "primary" }) : null)),
  el("p", {}, s.when, s.reason ? el("strong", {}, " · " + s.reason) : "", s.failures ? ` · ${count(s.failures, "failure")} in a row` : ""),
  facts([["Next", s.next?.length ? el("ul", { class: "inline" }, s.next.slice(0, 5).map((t) => el("li", {}, new Date(t).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }), " (in ", span((Date.parse(t) - Date.now()) / 1000), ")"))) : "–"]]),
  runs.length ? el("ol", { class: "timeline" }, runs.map((r) => el("li", {}, chip(r.state), el("span", {}, ago(r.time), r.cause ? `, ${r.cause}` : ""), " ", id(r), r.error ? el("p", {}, r.error) : null))) : el("p", { class: "quiet" }, "It has not run yet."));
}
