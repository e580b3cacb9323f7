// The queue of an AsyncAPI, and one item of it.
import { el, put, ago, count, whole, moment, span } from "./lib.js";
import { get, send, at } from "./call.js";
import { chip, table, button, facts, card, field, every, attempts } from "./ui.js";

const LIMIT = 1000;
const waiting = ["delayed", "queued", "retrying"], running = ["running", "cancelling"], again = ["failed", "cancelled", "expired"];

export default function queue(root, [name, id], ctx) {
  return id ? item(root, name, id, ctx) : items(root, name, ctx);
}

async function items(root, name, { signal, params }) {
  let state = params.get("state") || "";
  const sum = el("div", { class: "tiles" }), acts = el("div", { class: "row" }), list = el("div"), why = el("div");
  const pick = el("select", { onchange: () => { state = pick.value; look(); } }, ["", ...waiting, ...running, "succeeded", ...again].map((s) => el("option", { value: s, selected: s === state }, s || "any")));
  const label = el("input", { type: "text", placeholder: "name=value", onchange: () => look() });
  put(root, sum, el("div", { class: "row tools" }, field("State", pick), field("Label", label), acts), why, list);

  const look = async () => {
    const q = new URLSearchParams({ limit: String(LIMIT) });
    if (label.value) q.set("label", label.value);
    const everyone = await get(at(name, "items") + "?" + q, signal);
    const found = state ? everyone.filter((i) => i.state === state) : everyone;
    const of = (states) => everyone.filter((i) => states.includes(i.state));
    const more = everyone.length === LIMIT ? "+" : "";
    const oldest = of(["queued", "retrying"]).at(-1);
    const done = of(["succeeded"]).filter((i) => Date.now() - moment(i.timestamp) < 300000).length;
    put(sum, tile("Waiting", of(waiting).length + more, oldest ? `the oldest for ${span((Date.now() - moment(oldest.accepted_at)) / 1000)}` : "nothing waits"),
      tile("Running", of(running).length + more, oldest?.queue?.estimate ? "the last of the queue in " + oldest.queue.estimate : ""),
      tile("Succeeded", of(["succeeded"]).length + more, `${whole(done)} in five minutes`), tile("Failed", of(["failed"]).length + more, of(["failed"]).length ? of(["failed"])[0].reason?.message || "" : ""));
    put(acts, bulk(name, "Retry failed", "Try again", "retry-items", of(["failed"]), look), bulk(name, "Cancel waiting", "Cancel", "cancel-items", of(waiting), look));
    put(why);
    put(list, table("Items", ["Item", "State", "Accepted", { text: "Attempts", num: true }, "Labels", "Why"], found.slice(0, 200).map((i) => [
      el("a", { href: `#/api/${encodeURIComponent(name)}/items/${encodeURIComponent(i.id)}` }, i.id), chip(i.state), ago(i.accepted_at), String(i.attempts?.length || 0), Object.entries(i.labels || {}).map(([k, v]) => `${k}=${v}`).join(" "), i.reason?.message || i.progress?.message || "",
    ]), "No item is in this state."), found.length > 200 ? el("p", { class: "quiet" }, `and ${count(found.length - 200, "older one")}`) : "");
  };
  every(2500, signal, why, look);
}

function tile(name, n, about) {
  return el("div", { class: "tile" }, el("span", {}, name), el("b", {}, String(n)), el("small", {}, about));
}

// bulk does something to all that are counted: so many as the question says.
function bulk(name, label, verb, path, those, done) {
  if (those.length === 0) return null;
  return button(`${label} (${whole(those.length)})`, () => ({ title: `${verb} ${count(those.length, "item")} of ${name}?`, verb, danger: path === "cancel-items", act: async () => {
    const r = await send("POST", at(name, path), { ids: those.map((i) => i.id) });
    done();
    return `${count(r.changed.length, "item")} changed`;
  } }));
}

async function item(root, name, id, { signal }) {
  const body = el("div", { class: "part" }), why = el("div");
  put(root, el("p", {}, el("a", { href: `#/api/${encodeURIComponent(name)}/items` }, "All items")), why, body);
  let was = "";
  const look = async () => {
    const i = await get(at(name, "items", id), signal);
    const key = JSON.stringify(i);
    if (key === was) return;
    was = key;
    put(why);
    const changed = (verb) => async () => {
      const r = await send("POST", at(name, verb), { ids: [id] });
      look();
      return r.changed.length ? "Done" : "It stays as it is";
    };
    put(body, el("div", { class: "head" }, el("h2", {}, el("code", {}, i.id), " ", chip(i.state)), el("div", { class: "row" },
      again.includes(i.state) ? button("Retry", () => ({ title: "Try this item again?", verb: "Try it again", act: changed("retry-items") }), { class: "primary" }) : null,
      [...waiting, "running"].includes(i.state) ? button("Cancel", () => ({ title: "Cancel this item?", verb: "Cancel it", danger: true, act: changed("cancel-items") })) : null,
      el("a", { class: "button", href: `#/api/${encodeURIComponent(name)}/logs?search=${encodeURIComponent(id)}` }, "Log lines"))),
    i.reason ? el("div", { class: "notice bad" }, el("p", {}, el("strong", {}, i.reason.message)), el("p", { class: "quiet" }, i.reason.code)) : null,
    i.progress ? el("p", {}, i.progress.percent !== undefined ? el("progress", { max: "100", value: i.progress.percent, "aria-label": "Progress" }) : "", " ", i.progress.message || "") : null,
    facts([["Accepted", ago(i.accepted_at)], ["Latest change", ago(i.timestamp)], ["Next try", i.next_attempt_at ? ago(i.next_attempt_at) : null], ["Expires", i.expires_at ? ago(i.expires_at) : null], ["Priority", i.priority], ["Ahead of it", i.queue ? whole(i.queue.ahead) + (i.queue.estimate ? `, ${i.queue.estimate}` : "") : null], ["Labels", Object.entries(i.labels || {}).map(([k, v]) => `${k}=${v}`).join(" ")], ["Result", i.result_url]]),
    card("Attempts", attempts(i.attempts)));
  };
  every(1500, signal, why, look);
}
