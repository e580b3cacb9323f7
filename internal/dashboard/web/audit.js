// Who did what, and what was denied.
import { el, put, ago } from "./lib.js";
import { gather } from "./call.js";
import { table, problem, chip, field, empty } from "./ui.js";

export default async function audit(root, _, { signal }) {
  const body = el("div");
  const since = el("select", { onchange: () => look() }, ["1h", "24h", "168h"].map((v) => el("option", { value: v, selected: v === "24h" }, v === "168h" ? "7 days" : v)));
  const who = el("input", { type: "text", placeholder: "user/alice", onchange: () => look() });
  const denied = el("input", { type: "checkbox", onchange: () => look() });
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Audit"), el("p", { class: "sum" }, "Who did, or was refused, what.")), el("div", { class: "row tools" }, field("Who", who), field("Since", since), el("label", { class: "check" }, denied, " refused only"))), body);
  const look = async () => {
    const q = new URLSearchParams({ since: since.value });
    if (denied.checked) q.set("denied", "true");
    if (who.value) q.set("principal", who.value);
    try {
      const all = (await gather("/v1/audit?" + q, { signal, most: 500 })).reverse();
      put(body, table("Audit", ["When", "Who", "What", "Of", "Decision", "What came of it", "From"], all.map((e) => [ago(e.time), el("span", { title: e.principal }, (e.principal || "nobody proven").replace(/^arn:[^:]*:[^:]*::/, "")), e.operation || e.action, e.resource, chip(e.decision, (e.policies || []).join(", ")), [e.outcome, e.version, e.code, e.reason, e.command?.join(" ")].filter(Boolean).join(" · "), e.source]), "Nobody did anything in this time."));
    } catch (e) {
      if (signal.aborted) return;
      put(body, problem(e));
    }
  };
  if (document.body.dataset.local === "true") put(body, empty("On this machine whoever can reach the socket is its owner: there is no audit. A server and a cluster have one."));
  else await look();
}
