// Home: every API, those in trouble first with the sentence that says why.
import { el, put, say, ago, rate, seconds, percent, count, whole, later, onKey } from "./lib.js";
import { everything, follow } from "./call.js";
import { chip, stateOf, trouble, problem, empty } from "./ui.js";
import { sparkline } from "./chart.js";

const columns = [
  { id: "name", text: "API", of: (a) => a.name },
  { id: "state", text: "State", of: (a) => trouble(a) },
  { id: "replicas", text: "Replicas", num: true, of: (a) => -(a.status?.ready ?? -1) },
  { id: "rps", text: "Requests/s", num: true, of: (a) => -(a.rates?.requests_per_second ?? -1) },
  { id: "latency", text: "p50", num: true, of: (a) => -latency(a, "p50") },
  { id: "p99", text: "p99", num: true, of: (a) => -latency(a, "p99") },
  { id: "errors", text: "5xx", num: true, of: (a) => -(a.rates?.error_share ?? -1) },
  { id: "flight", text: "In flight", num: true, of: (a) => -(a.status?.traffic?.in_flight ?? -1) },
  { id: "spark", text: "15 minutes" },
  { id: "event", text: "Last event", of: (a) => -Date.parse(a.last_event?.time || 0) },
];

function latency(a, q) {
  return a.rates?.[q + "_seconds"] ?? (q === "p50" ? a.rates?.latency_seconds : undefined) ?? -1;
}

function why(a) {
  return a.refused?.message || a.status?.reason || a.status?.warning || "";
}

export default function home(root, _, { signal, params }) {
  let sort = params.get("sort") || "state";
  let text = params.get("q") || "";
  const sum = el("p", { class: "sum" });
  const filter = el("input", { type: "search", placeholder: "Filter by name, kind or state", "aria-label": "Filter", value: text, oninput: () => { text = filter.value; draw(); } });
  const worries = el("div", { class: "worries" });
  const body = el("tbody");
  const heads = columns.map((c) => el("th", { scope: "col", class: c.num ? "num" : null }, c.of ? el("button", { type: "button", onclick: () => { sort = c.id; draw(); } }, c.text) : c.text));
  const table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "APIs" },
    el("table", { class: "apis" }, el("caption", { class: "heard" }, "Every API with its state and what it does now"), el("thead", {}, el("tr", {}, heads)), body));
  const place = el("div");
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "APIs"), sum), filter), worries, place);

  const rows = new Map();
  const draw = later(() => {
    if (!everything.known) {
      if (everything.away) put(place, problem(everything.away));
      return;
    }
    const all = [...everything.apis.values()];
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = all.filter((a) => words.every((w) => (a.name + " " + a.kind + " " + stateOf(a)).toLowerCase().includes(w)));
    const by = columns.find((c) => c.id === sort) || columns[1];
    shown.sort((x, y) => {
      const [p, q] = [by.of(x), by.of(y)];
      return (p < q ? -1 : p > q ? 1 : 0) || trouble(x) - trouble(y) || x.name.localeCompare(y.name);
    });
    say(sum, summary(all, shown));
    heads.forEach((h, i) => (columns[i].id === by.id ? h.setAttribute("aria-sort", "ascending") : h.removeAttribute("aria-sort")));
    worry(worries, all.filter((a) => trouble(a) <= 2).sort((x, y) => trouble(x) - trouble(y)));
    if (all.length === 0) {
      put(place, el("div", { class: "first" }, el("h2", {}, "Nothing is deployed yet"), el("p", {}, "In a folder with a cortex.yaml: ", el("code", {}, "cortex deploy"), ". To get one: ", el("code", {}, "cortex init"), ". It appears here by itself.")));
      return;
    }
    if (table.parentNode !== place) put(place, table);
    for (const [name, r] of rows) if (!everything.apis.has(name)) { r.tr.remove(); rows.delete(name); }
    const wanted = shown.map((a) => {
      if (!rows.has(a.name)) rows.set(a.name, row(a.name));
      const r = rows.get(a.name);
      r.show(a, everything.spark.get(a.name));
      return r.tr;
    });
    // Only rows that stand elsewhere now are moved: a focus stays where it is.
    wanted.forEach((tr, i) => { if (body.children[i] !== tr) body.insertBefore(tr, body.children[i] || null); });
    while (body.children.length > wanted.length) body.lastChild.remove();
    if (shown.length === 0 && !place.querySelector(".empty")) place.append(empty("No API has this in its name, kind or state."));
    if (shown.length > 0) place.querySelector(".empty")?.remove();
  });
  follow(draw, signal);
  const move = (by) => {
    const links = [...body.querySelectorAll("th a")];
    const i = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, i + by))]?.focus();
  };
  onKey({ "/": () => filter.focus(), j: () => move(1), k: () => move(-1) }, signal);
  filter.addEventListener("keydown", (e) => { if (e.key === "Escape") { filter.value = text = ""; draw(); filter.blur(); } });
  draw();
}

function summary(all, shown) {
  const bad = all.filter((a) => trouble(a) <= 2).length;
  const busy = all.filter((a) => stateOf(a) === "updating").length;
  const sum = all.reduce((n, a) => n + (a.rates?.requests_per_second || 0), 0);
  return [count(all.length, "API"), shown.length < all.length ? whole(shown.length) + " shown" : "", bad ? whole(bad) + " not fine" : all.length ? "all fine" : "", busy ? whole(busy) + " updating" : "", all.some((a) => a.rates) ? rate(sum) + " requests/s" : ""].filter(Boolean).join(" · ");
}

// worry says of each that is not fine what it is, in one sentence.
function worry(node, bad) {
  const key = JSON.stringify(bad.slice(0, 8).map((a) => [a.name, stateOf(a), why(a)]).concat(bad.length));
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  put(node, bad.slice(0, 8).map((a) => el("a", { class: "worry " + (trouble(a) < 2 ? "bad" : "warn"), href: "#/api/" + encodeURIComponent(a.name) },
    chip(stateOf(a)), el("strong", {}, a.name), el("span", {}, why(a) || "see why"))),
  bad.length > 8 ? el("p", { class: "quiet" }, `and ${count(bad.length - 8, "other")}, first in the table`) : null);
}

// row is the row of one API, of which only what has changed is written.
function row(name) {
  const cells = {};
  const td = (id, num) => (cells[id] = el("td", { class: num ? "num" : null }));
  const kind = el("small");
  const tr = el("tr", {}, el("th", { scope: "row" }, el("a", { href: "#/api/" + encodeURIComponent(name) }, name), kind), columns.slice(1).map((c) => td(c.id, c.num)));
  let was = {};
  const once = (id, value, write) => {
    if (was[id] === value) return;
    was[id] = value;
    write();
  };
  return { tr, show(a, seen) {
    say(kind, a.kind);
    const s = a.status;
    once("state", stateOf(a), () => put(cells.state, chip(stateOf(a))));
    say(cells.replicas, s ? `${s.ready}/${s.requested}` : a.running_jobs !== undefined ? count(a.running_jobs, "job") : a.num_traffic_splitter_targets !== undefined ? count(a.num_traffic_splitter_targets, "target") : "–");
    say(cells.rps, a.rates ? rate(a.rates.requests_per_second) : "–");
    say(cells.latency, seconds(latency(a, "p50")));
    say(cells.p99, seconds(latency(a, "p99")));
    say(cells.errors, a.rates?.error_share !== undefined ? percent(a.rates.error_share) : a.rates ? "0 %" : "–");
    cells.errors.classList.toggle("hot", a.rates?.error_share > 0.01);
    say(cells.flight, s?.traffic ? whole(s.traffic.in_flight) : "–");
    once("spark", seen ? seen.join() : "", () => put(cells.spark, a.rates ? sparkline(seen) : ""));
    const e = a.last_event;
    const minute = e ? e.time + Math.floor(Date.now() / 15000) : "";
    once("event", minute, () => put(cells.event, e ? [el("span", { class: "what", title: e.message }, e.reason), " ", ago(e.time)] : "–"));
  } };
}
