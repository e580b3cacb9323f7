// The jobs of a BatchAPI or TaskAPI, and one of them.
import { el, put, ago, count, whole, moment, span, seconds } from "./lib.js";
import { get, send, at, gather } from "./call.js";
import { chip, table, button, facts, card, every, attempts } from "./ui.js";

const inProgress = (s) => ["enqueuing", "running", "pending", "queued"].includes(s);

export default function jobs(root, [name, id], ctx) {
  return id ? job(root, name, id, ctx) : list(root, name, ctx);
}

function list(root, name, { signal }) {
  const why = el("div"), body = el("div");
  put(root, why, body);
  every(3000, signal, why, async () => {
    const all = await get(at(name, "jobs") + "?limit=200", signal);
    put(why);
    put(body, table("Jobs", ["Job", "Status", "Submitted", "Took", "Progress", "Why"], all.map((j) => [
      el("a", { href: `#/api/${encodeURIComponent(name)}/jobs/${encodeURIComponent(j.job_id)}` }, j.job_id), chip(j.status), ago(j.start_time), took(j), bar(j.progress) || "–", j.reason?.message || j.warning || "",
    ]), ["No job yet. ", `cortex submit ${name} job.json`]));
  });
}

function took(j) {
  return span(((moment(j.end_time) || Date.now()) - moment(j.start_time)) / 1000);
}

function bar(p) {
  if (!p || !p.total) return null;
  return el("span", { class: "bar" }, el("progress", { max: String(p.total), value: p.succeeded + p.failed, "aria-label": `${p.succeeded + p.failed} of ${p.total} batches` }), ` ${whole(p.succeeded + p.failed)}/${whole(p.total)}`, p.failed ? el("b", { class: "hot" }, ` ${whole(p.failed)} failed`) : "");
}

function job(root, name, id, { signal }) {
  const body = el("div", { class: "part" }), failed = el("div"), why = el("div");
  put(root, el("p", {}, el("a", { href: `#/api/${encodeURIComponent(name)}/jobs` }, "All jobs")), why, body, failed);
  let was = "", read = -1;
  every(1500, signal, why, async () => {
    const { job_status: j, metrics } = await get(at(name, "jobs", id), signal);
    const p = j.progress;
    const key = JSON.stringify([j, metrics]);
    if (key === was) return;
    was = key;
    put(why);
    const go = (r) => { location.hash = `#/api/${encodeURIComponent(name)}/jobs/${encodeURIComponent(r.job?.job_id || id)}`; };
    put(body, el("div", { class: "head" }, el("h2", {}, el("code", {}, j.job_id), " ", chip(j.status)), el("div", { class: "row" },
      inProgress(j.status) ? button("Stop", () => ({ title: "Stop this job?", text: "What it has done stays.", verb: "Stop it", danger: true, act: async () => (await send("DELETE", at(name, "jobs", id))).message })) : null,
      !inProgress(j.status) && j.kind === "BatchAPI" && j.status !== "succeeded" ? button("Retry failed", () => ({ title: "Submit a job for what did not succeed?", text: "Its batches that failed, and those that it never came to.", verb: "Submit it", act: async () => { const r = await send("POST", at(name, "jobs", id, "retry"), {}); go(r); return "Submitted"; } }), { class: "primary" }) : null,
      el("a", { class: "button", href: `#/api/${encodeURIComponent(name)}/logs?job=${encodeURIComponent(id)}` }, "Logs"))),
    j.reason ? el("div", { class: "notice bad" }, el("p", {}, el("strong", {}, j.reason.message)), el("p", { class: "quiet" }, j.reason.code)) : null,
    j.warning ? el("div", { class: "notice warn" }, el("p", {}, j.warning)) : null,
    p ? el("p", { class: "wide" }, bar(p), p.estimate && inProgress(j.status) ? ` · the rest in ${p.estimate}` : "", p.per_minute ? ` · ${whole(p.per_minute)} a minute` : "") : null,
    facts([["Submitted", ago(j.start_time)], ["Took", took(j)], ["Workers", String(j.workers)], ["Batches", p ? `${whole(p.succeeded)} succeeded, ${whole(p.failed)} failed, ${whole(p.running)} running, ${whole(p.queued)} waiting` : null], ["Mean time of a batch", metrics?.average_time_per_batch ? seconds(metrics.average_time_per_batch) : null], ["Schedule", j.schedule], ["Tries again", j.parent]]),
    j.attempts ? card("Attempts", attempts(j.attempts)) : null,
    j.result !== undefined && j.result !== null ? card("Result", el("pre", { tabindex: "0" }, typeof j.result === "string" ? j.result : JSON.stringify(j.result, null, 2))) : null);
    if (p?.failed && p.failed !== read) {
      read = p.failed;
      const all = await gather(at(name, "jobs", id, "lines") + "?errors=true", { signal, most: 2000 });
      const groups = new Map();
      for (const l of all) {
        const r = l.reason?.message || `status ${l.http_status}`;
        groups.set(r, [...(groups.get(r) || []), l.index]);
      }
      put(failed, card("Batches that failed, by why", table("Failed batches", ["Why", { text: "Batches", num: true }, "Which"], [...groups].sort((a, b) => b[1].length - a[1].length).map(([r, ids]) => [r, whole(ids.length), ids.slice(0, 12).join(", ") + (ids.length > 12 ? ` and ${count(ids.length - 12, "other")}` : "")]))));
    }
  });
}
