// One API: why it is as it is, what it does, what it consists of, and what can be done.
import { el, put, say, ago, seconds, rate, bytes, whole, moment } from "./lib.js";
import { get, send, at, everything, follow, gather, pause } from "./call.js";
import { chip, stateOf, problem, table, button, card, tabs, toast, empty, field } from "./ui.js";
import { chart } from "./chart.js";
import logs from "./logs.js";

const parts = {
  "": overview, logs, events, config,
  try: (...all) => import("./try.js").then((m) => m.default(...all)),
  items: (...all) => import("./queue.js").then((m) => m.default(...all)),
  jobs: (...all) => import("./jobs.js").then((m) => m.default(...all)),
  schedules: (...all) => import("./schedules.js").then((m) => m.default(...all)),
};

const has = {
  items: (kind) => kind === "AsyncAPI",
  jobs: (kind) => kind === "BatchAPI" || kind === "TaskAPI",
  schedules: (kind) => ["AsyncAPI", "BatchAPI", "TaskAPI"].includes(kind),
  try: (kind) => kind === "RealtimeAPI" || kind === "TrafficSplitter" || kind === "AsyncAPI",
  logs: (kind) => kind !== "TrafficSplitter",
};
const titles = { "": "Overview", logs: "Logs", items: "Items", jobs: "Jobs", schedules: "Schedules", events: "Events", config: "Config", try: "Try it" };

export default async function api(root, [name, part = "", ...rest], ctx) {
  const base = "#/api/" + encodeURIComponent(name);
  const state = el("span"), kind = el("span", { class: "quiet" }), where = el("div", { class: "endpoint" }), acts = el("div", { class: "row" }), nav = el("div"), body = el("div", { class: "part" });
  put(root, el("p", { class: "crumbs" }, el("a", { href: "#/" }, "APIs"), " / ", name), el("div", { class: "head" }, el("div", {}, el("h1", {}, name, " ", state), kind), acts), where, nav, body);
  let was = "";
  const draw = () => {
    const a = everything.apis.get(name);
    if (!a) {
      if (everything.known) { put(state, chip("gone")); put(acts); }
      return;
    }
    const key = [stateOf(a), a.kind, a.endpoint, a.status?.requested].join();
    if (key === was) return;
    was = key;
    put(state, chip(stateOf(a)));
    say(kind, a.kind);
    put(where, a.endpoint ? [el("code", {}, a.endpoint), el("button", { type: "button", class: "small", onclick: () => navigator.clipboard.writeText(a.endpoint).then(() => toast("Copied")) }, "Copy")] : "");
    put(acts, actions(a));
    put(nav, tabs(base, ["", "logs", "items", "jobs", "schedules", "events", "config", "try"].filter((p) => !has[p] || has[p](a.kind)).map((p) => [p, titles[p]]), part));
  };
  follow(draw, ctx.signal);
  try {
    if (!parts[part]) throw new Error("there is no such part of an API");
    await parts[part](body, [name, ...rest], ctx);
  } catch (e) {
    if (e.name !== "AbortError") put(body, problem(e));
  }
}

function actions(a) {
  const s = a.status;
  const name = a.name;
  const post = (what, text, body) => async () => (await send("POST", at(name, what), body)).message || text;
  const scales = a.kind === "RealtimeAPI" || a.kind === "AsyncAPI";
  return [
    s && s.phase !== "stopped" ? button("Refresh", () => ({ title: `Replace every replica of ${name}?`, text: "New ones start first, with the same specification. Processes run the code that their folder holds now.", verb: "Replace them", act: post("refresh", "Its replicas are being replaced", {}) })) : null,
    scales && s && s.phase !== "stopped" ? button("Scale", () => {
      const n = el("input", { type: "number", name: "n", min: "0", max: "10000", value: String(s.requested), required: true });
      return { title: `How many replicas of ${name}?`, text: "Within the bounds of its specification. The autoscaler goes on from there.", extra: field("Replicas", n), verb: "Scale", act: async () => (await send("POST", at(name, "scale"), { replicas: Number(n.value) })).message };
    }) : null,
    scales && s ? (s.phase === "stopped"
      ? button("Start", () => ({ title: `Start ${name}?`, text: "With as many replicas as it had.", verb: "Start it", act: post("start", "It starts") }), { class: "primary" })
      : button("Stop", () => ({ title: `Stop ${name}?`, text: "Its replicas end, and requests are refused until somebody starts it.", verb: "Stop it", danger: true, act: post("stop", "It stops") }))) : null,
    button("Delete", () => ({ title: `Delete ${name}?`, text: "Its replicas end, and its history and logs go with it.", verb: "Delete it", danger: true, act: async () => {
      const m = await send("DELETE", at(name));
      location.hash = "#/";
      return m.message;
    } }), { class: "quietly" }),
  ];
}

async function overview(root, [name], { signal }) {
  const banner = el("div"), charts = el("div", { class: "charts" }), scaled = el("div"), replicas = el("div"), versions = el("div");
  put(root, banner, charts, scaled, replicas, versions);
  let id = "";
  const look = async () => {
    const scales = Boolean(everything.apis.get(name)?.status);
    const [why, api] = await Promise.all([get(at(name, "explain"), signal), scales ? get(at(name, "describe"), signal) : null]);
    explain(banner, why);
    if (api?.status) showReplicas(replicas, api, name);
    const now = everything.apis.get(name)?.id + why.healthy;
    if (now !== id) {
      id = now;
      showVersions(versions, name, await get(at(name, "history"), signal));
      const happened = await gather(at(name, "events"), { signal, most: 400 }).catch(() => []);
      const scaling = happened.filter((e) => /^Scal/.test(e.reason)).slice(-5).reverse();
      put(scaled, scaling.length ? card("Why the number of replicas changed", el("ul", { class: "plain" }, scaling.map((e) => el("li", {}, ago(e.time), " ", e.message)))) : "");
    }
  };
  // What has changed is looked at again at once, and the rest now and then.
  let key = "", poke = () => {};
  follow(() => {
    const a = everything.apis.get(name);
    const k = JSON.stringify([a?.id, a?.status?.phase, a?.status?.ready, a?.status?.requested, a?.status?.reason, a?.last_event?.time, a?.refused?.message]);
    if (k !== key) { key = k; poke(); }
  }, signal);
  let range = "15m", drawn = 0;
  const measure = async () => {
    if (Date.now() - drawn < 9000 || !everything.apis.get(name)?.status) return;
    drawn = Date.now();
    const m = await get(at(name, "series") + "?since=" + range, signal).catch(() => null);
    if (m) showCharts(charts, m, range, (r) => { range = r; drawn = 0; measure(); });
  };
  (async () => {
    for (let i = 0; i < 60 && !everything.known && !signal.aborted; i++) await pause(50, signal);
    while (!signal.aborted) {
      try {
        await Promise.all([look(), measure()]);
      } catch (e) {
        if (signal.aborted) return;
        put(banner, problem(e));
      }
      const wait = new AbortController();
      poke = () => setTimeout(() => wait.abort(), 200);
      signal.addEventListener("abort", () => wait.abort(), { once: true });
      await pause(4000, wait.signal);
    }
  })();
}

// explain is the banner: the cause, what it is known by, and what to do.
function explain(node, e) {
  const key = JSON.stringify([e.summary, e.cause, e.steps]);
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  const steps = el("details", { class: "steps", open: !e.healthy && !e.cause }, el("summary", {}, "Everything that was looked at"),
    el("ol", { class: "plain" }, e.steps.map((s) => el("li", {}, chip(s.ok ? "ready" : s.pending ? "pending" : "failed"), el("strong", {}, s.layer), " ", s.detail))));
  put(node, el("section", { class: "notice explain " + (e.healthy ? "good" : e.cause ? "bad" : "busy"), "aria-label": "Why it is as it is" },
    el("h2", {}, e.healthy ? e.summary : e.cause?.message || e.summary),
    e.cause && e.summary !== e.cause.message ? el("p", {}, e.summary) : null,
    e.cause?.fix ? el("p", { class: "fix" }, el("strong", {}, "What to do: "), e.cause.fix) : null,
    e.cause?.evidence?.length ? el("div", {}, el("h3", {}, "What it is known by"), el("ul", { class: "evidence" }, e.cause.evidence.map((v) => el("li", {}, el("small", {}, v.kind), el("code", {}, v.text))))) : null,
    steps));
}

function showCharts(node, m, range, choose) {
  const from = moment(m.from), step = m.step_seconds;
  const pick = el("div", { class: "row end", role: "group", "aria-label": "Time shown" }, ["15m", "1h", "24h"].map((r) => el("button", { type: "button", class: "small", "aria-pressed": String(r === range), onclick: () => choose(r) }, r)));
  if (![...m.requests, ...m.ready].some((v) => v >= 0)) {
    put(node, pick, empty("What it does is measured every ten seconds: there is nothing yet."));
    return;
  }
  const of = (title, words, ...lines) => chart({ title, words, from, step, lines: lines.map(([name, values]) => ({ name, values })) });
  put(node, pick,
    of("Requests a second", rate, ["requests", m.requests], ["5xx", m.errors]),
    of("Latency", seconds, ["p50", m.p50], ["p99", m.p99]),
    of("In flight", (n) => (n < 10 ? rate(n) : whole(n)), ["in flight", m.in_flight]),
    of("Replicas", whole, ["ready", m.ready], ["wanted", m.requested]));
}

function showReplicas(node, api, name) {
  const all = api.status.replicas || [];
  const rows = all.map((r) => [el("a", { href: `#/api/${encodeURIComponent(name)}/logs?replica=${encodeURIComponent(r.id)}` }, r.id), chip(r.state), r.reason?.message || r.warning || "", ago(r.since), String(r.restarts), r.usage?.in_flight !== undefined ? String(r.usage.in_flight) : "–", bytes(r.usage?.memory_bytes)]);
  const key = JSON.stringify(all.map((r) => [r.id, r.state, r.reason?.message, r.restarts, r.usage?.in_flight, bytes(r.usage?.memory_bytes)])) + Math.floor(Date.now() / 15000);
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  put(node, card(`Replicas: ${api.status.ready} of ${api.status.requested} ready`, table("Replicas", ["Replica", "State", "Why", "Since", { text: "Restarts", num: true }, { text: "In flight", num: true }, { text: "Memory", num: true }], rows, api.status.phase === "idle" ? "It is at zero: the first request starts one." : "None runs.")));
}

function showVersions(node, name, all) {
  put(node, card("Versions", table("Versions", ["Version", "Result", "Deployed", "By", ""], all.slice(0, 20).map((v) => [
    `v${v.number}`, [v.result ? chip(v.result, v.reason) : "", v.serving ? el("small", {}, " serves") : "", v.reason ? el("small", {}, " ", v.reason) : ""], ago(v.last_updated), v.cause,
    v.current ? el("span", { class: "quiet" }, "current") : button("Roll back", () => ({ title: `Deploy v${v.number} of ${name} again?`, text: "Its specification becomes a new version. What serves now goes on until that is ready.", verb: "Roll back", act: async () => {
      const r = await send("POST", at(name, "rollback"), { id: v.api_id });
      if (r.error) throw new Error(r.error.replace(/^error: /, ""));
      return r.message;
    } }), { class: "small" }),
  ]), "It has no versions.")));
}

async function events(root, [name], { signal }) {
  const all = (await gather(at(name, "events"), { signal, most: 500 })).reverse();
  put(root, eventTable(all));
}

export function eventTable(all, named) {
  return table("Events", [{ text: "When" }, ...(named ? ["API"] : []), "What", "Why"], all.map((e) => [ago(e.time), ...(named ? [el("a", { href: "#/api/" + encodeURIComponent(e.api) }, e.api)] : []), chip(e.type === "warning" ? "warning" : "normal", e.reason), [el("strong", {}, e.reason), " ", e.message]]), "Nothing has happened.");
}

async function config(root, [name], { signal }) {
  const api = await get(at(name), signal);
  const spec = { ...api.spec };
  const given = spec.submitted_api_spec;
  delete spec.submitted_api_spec;
  put(root, el("div", { class: "two" },
    given ? card("As it was given", el("pre", { tabindex: "0" }, yaml(given))) : null,
    card("As it is in force, with defaults", el("pre", { tabindex: "0" }, yaml(spec)))));
}

// yaml writes plain data for people to read.
export function yaml(v, pad = "") {
  const plain = (s) => (typeof s === "string" && (s === "" || /^[\s\-?:,[\]{}#&*!|>'"%@`]|[:#]\s|\s$|^(true|false|null|~|[-+.\d].*)$/i.test(s) || s.includes("\n")) ? JSON.stringify(s) : String(s));
  if (Array.isArray(v)) return v.length ? v.map((x) => pad + "- " + yaml(x, pad + "  ").trimStart()).join("\n") : pad + "[]";
  if (v && typeof v === "object") {
    const all = Object.entries(v);
    return all.length ? all.map(([k, x]) => (x && typeof x === "object" && Object.keys(x).length ? `${pad}${plain(k)}:\n${yaml(x, pad + "  ")}` : `${pad}${plain(k)}: ${x && typeof x === "object" ? (Array.isArray(x) ? "[]" : "{}") : plain(x)}`)).join("\n") : pad + "{}";
  }
  return pad + plain(v);
}
