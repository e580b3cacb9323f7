// The environment itself.
import { el, put, ago, whole } from "./lib.js";
import { get } from "./call.js";
import { card, facts, chip, problem, table } from "./ui.js";

export default async function environment(root, _, { signal }) {
  const body = el("div");
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Environment"))), body);
  const part = async (path, draw) => {
    const node = el("div");
    body.append(node);
    try {
      put(node, draw(await get(path, signal)));
    } catch (e) {
      if (!signal.aborted && e.status !== 404 && e.status !== 501 && e.code !== "volumes.unsupported") put(node, problem(e));
    }
  };
  await part("/v1/info", (i) => [
    card("What answers", facts([["Name", i.environment], ["Version", i.version], ["Started", ago(i.started_at)], ["APIs", whole(i.apis)], ["Replicas that are ready", whole(i.replicas)], ["APIs are at", i.api_endpoint], ["Metrics are at", i.metrics_endpoint], ["State", i.state_dir], ["Process", i.pid ? String(i.pid) : null]])),
    card("Ways to run containers", table("Engines", ["Engine", "State", "Detail"], (i.engines || []).map((e) => [e.name, chip(e.available ? "available" : "failed"), e.detail || ""]), "It does not say.")),
  ]);
  if (document.body.dataset.local === "false") await part("/v1/whoami", (w) => card("Who you are here", facts([["Identity", w.principal.arn], ["Session until", new Date(w.expires_at).toLocaleTimeString("en-GB")], ["Policy", w.policy]])));
  await part("/v1/volumes", (all) => card("Volumes", table("Volumes", ["Volume", "Used by", "Folder"], all.map((v) => [v.name, (v.used_by || []).join(", "), v.path || ""]), "There are none.")));
}
