// Simulate: what would have become of the last hour with other settings.
import { el, put, seconds, whole, rate, span } from "./lib.js";
import { get, send, at, everything, pause } from "./call.js";
import { field, problem, card, facts, empty } from "./ui.js";
import { chart } from "./chart.js";

export default async function simulate(root, [chosen], { signal }) {
  const body = el("div");
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Simulate"), el("p", { class: "sum" }, "The traffic of the last hour through the autoscaler’s own rules, with other settings. Nothing is changed."))), body);
  while (!everything.known && !signal.aborted) await pause(100, signal);
  const names = [...everything.apis.values()].filter((a) => a.status).map((a) => a.name).sort();
  if (names.length === 0) return put(body, empty("No API has replicas that follow its load."));
  const name = names.includes(chosen) ? chosen : names[0];
  const pick = el("select", { onchange: () => { location.hash = "#/simulate/" + encodeURIComponent(pick.value); } }, names.map((n) => el("option", { value: n, selected: n === name }, n)));
  const out = el("div", { class: "charts", role: "status" }), form = el("div", { class: "sliders" });
  put(body, el("div", { class: "row tools" }, field("API", pick)), form, out);
  try {
    const [api, past] = await Promise.all([get(at(name), signal), get(at(name, "series"), signal)]);
    const scaling = api.spec.autoscaling;
    const slider = (label, value, min, max, step, words) => {
      const input = el("input", { type: "range", min, max, step });
      input.value = value;
      const said = el("output", {}, words(Number(input.value)));
      input.addEventListener("input", () => { put(said, words(Number(input.value))); soon(); });
      form.append(field([label, " ", said], input));
      return () => Number(input.value);
    };
    const p50 = past.p50.filter((v) => v > 0).sort((a, b) => a - b);
    const mean = p50.length ? p50[p50.length >> 1] : 0.1;
    const asked = {
      factor: slider("Traffic", 1, 0, 20, 0.5, (n) => rate(n) + " ×"),
      min_replicas: slider("At least", scaling.min_replicas, 0, Math.max(20, scaling.min_replicas), 1, (n) => `${n} replicas`),
      max_replicas: slider("At most", scaling.max_replicas, 1, Math.max(50, scaling.max_replicas), 1, (n) => `${n} replicas`),
      target_in_flight: slider("In flight for each", scaling.target_in_flight, 0.5, Math.max(20, scaling.target_in_flight), 0.5, rate),
      latency: slider("A request takes", Math.max(0.005, mean), 0.005, Math.max(5, mean), 0.005, seconds),
      cold_start: slider("A replica starts in", 5, 0, 300, 1, (n) => span(n)),
    };
    let turn = 0;
    const run = async () => {
      const mine = ++turn;
      const body = Object.fromEntries(Object.entries(asked).map(([k, v]) => [k, v()]));
      try {
        const r = await send("POST", "/simulate/" + encodeURIComponent(name), body);
        if (mine !== turn || signal.aborted) return;
        show(out, r, past);
      } catch (e) {
        if (mine === turn && !signal.aborted) put(out, problem(e));
      }
    };
    let timer = 0;
    const soon = () => { clearTimeout(timer); timer = setTimeout(run, 120); };
    if (past.requests.some((v) => v >= 0)) await run();
    else put(out, empty("Nothing was measured yet: it is every ten seconds, where the front door is the same program as the operator."));
  } catch (e) {
    if (!signal.aborted) put(out, problem(e));
  }
}

function show(node, r, past) {
  const from = new Date(past.from), step = r.row_seconds, s = r.summary;
  const of = (title, words, ...lines) => chart({ title, words, from, step, lines: lines.map(([name, key]) => ({ name, values: r.rows.map((row) => row[key]) })) });
  put(node, card("What would have become of it", facts([["Requests", whole(s.requests)], ["Refused", whole(s.dropped)], ["Wait, 95 of 100", seconds(s.p95_wait)], ["The longest wait", seconds(s.longest_wait)], ["Most replicas", whole(s.most_replicas)], ["Hours of replicas", rate(s.replica_seconds / 3600)]])),
    of("Requests a second", rate, ["offered", "offered"]), of("Replicas", whole, ["ready", "ready"], ["wanted", "requested"]), of("Waiting", whole, ["waiting", "waiting"]));
}
