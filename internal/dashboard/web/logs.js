// Logs as they come, with a search, of one replica or all.
import { el, put, say, count, later, clock } from "./lib.js";
import { lines, at, everything, pause } from "./call.js";
import { field, problem } from "./ui.js";

const KEPT = 5000; // lines that can be searched
const SHOWN = 1500; // of these, on the page
const LONG = 4000; // characters of a line that are shown

// plain shows control characters, and leaves out the colours of terminals.
export function plain(text) {
  // eslint-disable-next-line no-control-regex
  return text.replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, "").replace(/[\x00-\x08\x0b-\x1f\x7f]/g, (c) => String.fromCharCode(c === "\x7f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
}

// marked is a text with what was searched for in marks.
function marked(text, words) {
  if (!words) return [text];
  const found = [];
  const low = text.toLowerCase();
  let from = 0;
  for (let i = low.indexOf(words); i >= 0 && found.length < 200; i = low.indexOf(words, from)) {
    found.push(text.slice(from, i), el("mark", {}, text.slice(i, i + words.length)));
    from = i + words.length;
  }
  return [...found, text.slice(from)];
}

export default function logs(root, [name], { signal, params }) {
  const all = [];
  let words = (params.get("search") || "").toLowerCase();
  let stop = null;
  const search = el("input", { type: "search", value: params.get("search") || "", placeholder: "Text of a line", oninput: () => { words = search.value.toLowerCase(); redraw(); } });
  const since = el("select", { onchange: () => open() }, [["", "all that is kept"], ["5m", "5 minutes"], ["1h", "an hour"], ["24h", "a day"]].map(([v, t]) => el("option", { value: v }, t)));
  const job = params.get("job");
  const replica = el("input", { type: "text", value: params.get("replica") || "", placeholder: "all", size: "18", onchange: () => open() });
  const before = el("input", { type: "checkbox", onchange: () => open() });
  const stay = el("input", { type: "checkbox", checked: true });
  const found = el("p", { class: "quiet", role: "status" });
  const list = el("ol", { class: "log", tabindex: "0", "aria-label": "Log lines" });
  const why = el("div");
  put(root, el("div", { class: "row tools" }, field("Search", search), field("Replica", replica), field("Since", since),
    el("label", { class: "check" }, before, " of the run before"), el("label", { class: "check" }, stay, " keep to the end")), found, why, list);

  const has = (l) => !words || l.low.includes(words);
  const line = (l) => el("li", { class: l.stream === "stderr" ? "err" : null },
    el("time", { datetime: l.time, title: l.time }, clock(l.time)), el("span", { class: "of", title: l.replica + " " + l.container }, l.replica.slice(-6)),
    el("span", { class: "text" }, marked(l.text.length > LONG ? l.text.slice(0, LONG) : l.text, words), l.text.length > LONG ? el("em", {}, ` … ${count(l.text.length - LONG, "character")} more`) : ""));
  let pending = [];
  const tell = () => say(found, words ? `${count(all.filter(has).length, "line")} of ${count(all.length, "line")} have it` : all.length ? count(all.length, "line") + (all.length === KEPT ? ", the latest" : "") : "No lines yet.");
  const flush = later(() => {
    const fresh = pending.filter(has).slice(-SHOWN);
    pending = [];
    list.append(...fresh.map(line));
    while (list.children.length > SHOWN) list.firstChild.remove();
    tell();
    if (stay.checked) list.scrollTop = list.scrollHeight;
  });
  const redraw = later(() => {
    pending = [];
    put(list, all.filter(has).slice(-SHOWN).map(line));
    tell();
    list.scrollTop = list.scrollHeight;
  });
  const take = (l) => {
    l.text = plain(l.text);
    l.low = l.text.slice(0, 65536).toLowerCase();
    all.push(l);
    pending.push(l);
    if (all.length > KEPT) all.shift();
    flush();
  };

  async function open() {
    stop?.abort();
    const mine = stop = new AbortController();
    signal.addEventListener("abort", () => mine.abort(), { once: true });
    all.length = 0;
    redraw();
    const q = new URLSearchParams();
    const ended = job || before.checked;
    if (!ended) q.set("follow", "true");
    q.set("tail", String(KEPT));
    if (since.value) q.set("since", since.value);
    if (replica.value) q.set("replica", replica.value.trim());
    if (before.checked) q.set("previous", "true");
    if (job) q.set("job", job);
    while (!mine.signal.aborted) {
      put(why);
      try {
        await lines(at(name, "logs") + "?" + q, take, { signal: mine.signal });
      } catch (e) {
        if (e.name !== "AbortError") put(why, problem(e));
      }
      if (ended || mine.signal.aborted) return;
      await pause(1500, mine.signal); // the environment was restarted; what comes is new
      const last = all.at(-1);
      if (last) q.set("since", Math.max(1, Math.ceil((Date.now() - Date.parse(last.time)) / 1000) - 1) + "s");
    }
  }
  if (everything.apis.get(name)?.kind === "TrafficSplitter") return put(root, problem({ message: "a TrafficSplitter has no replicas, so that it has no logs" }));
  return open();
}
