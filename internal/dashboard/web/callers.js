// Who may call, and who did.
import { el, put, ago, whole, seconds, percent } from "./lib.js";
import { get, send } from "./call.js";
import { table, card, problem, button, chip, field } from "./ui.js";

export default async function callers(root, _, { signal }) {
  const use = el("div"), keys = el("div");
  const since = el("select", { onchange: () => usage() }, [["1h", "this hour"], ["24h", "a day"], ["168h", "a week"], ["720h", "a month"]].map(([v, t]) => el("option", { value: v, selected: v === "24h" }, t)));
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Callers"), el("p", { class: "sum" }, "Of APIs that ask who is calling.")), field("Since", since)), use, keys);
  const usage = async () => {
    try {
      const all = await get("/v1/usage?since=" + since.value, signal);
      const sums = new Map();
      for (const c of all) {
        const key = c.caller + "\n" + c.api;
        const s = sums.get(key) || { caller: c.caller, api: c.api, requests: 0, succeeded: 0, client_errors: 0, server_errors: 0, broken: 0, limited: 0, seconds: 0 };
        for (const k of ["requests", "succeeded", "client_errors", "server_errors", "broken", "limited", "seconds"]) s[k] += c[k];
        sums.set(key, s);
      }
      put(use, card("What they asked for", table("Usage by caller", ["Caller", "API", { text: "Requests", num: true }, { text: "4xx", num: true }, { text: "5xx", num: true }, { text: "Refused by a limit", num: true }, { text: "Mean time", num: true }],
        [...sums.values()].sort((a, b) => b.requests - a.requests).slice(0, 300).map((s) => [s.caller, el("a", { href: "#/api/" + encodeURIComponent(s.api) }, s.api), whole(s.requests), whole(s.client_errors), s.server_errors ? `${whole(s.server_errors)} (${percent(s.server_errors / s.requests)})` : "0", s.limited ? el("b", { class: "hot" }, whole(s.limited)) : "0", seconds(s.requests ? s.seconds / s.requests : 0)]), "Nobody has called an API with networking.auth in this time.")));
    } catch (e) {
      if (!signal.aborted) put(use, problem(e));
    }
  };
  const list = async () => {
    try {
      const all = await get("/v1/keys", signal);
      put(keys, card("Access keys", table("Access keys", ["Name", "State", "For", "Made", "By", "Expires", ""], all.map((k) => [k.name, chip(k.state), k.all_apis ? "every API" : (k.apis || []).join(", "), ago(k.created_at), k.created_by || "", k.expires_at ? ago(k.expires_at) : "never",
        button("Revoke", () => ({ title: `Revoke ${k.name}?`, text: "Every key of this name is worthless from then on. Whoever uses one is refused.", verb: "Revoke it", danger: true, act: async () => {
          const m = await send("DELETE", "/v1/keys/" + encodeURIComponent(k.name));
          list();
          return m.message;
        } }), { class: "small" })]), ["There are no keys. ", el("code", {}, "cortex keys create NAME --api API"), " makes one, and shows it once."])));
    } catch (e) {
      if (!signal.aborted) put(keys, problem(e));
    }
  };
  await Promise.all([usage(), list()]);
}
