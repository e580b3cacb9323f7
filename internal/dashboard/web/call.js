// Calls of /v1, and the one stream of what changes.
import { later } from "./lib.js";

// Refused is why a call had no answer that helps.
export class Refused extends Error {
  constructor(status, told) {
    super(told.message || "no answer");
    this.status = status;
    this.code = told.code || "";
    this.hint = told.hint || "";
  }
}

async function request(method, path, { body, headers, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method, signal, redirect: "error", cache: "no-store",
      headers: { "X-Cortex-UI": localStorage.getItem("key") || "", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Refused(0, { message: "`cortex dashboard` does not answer", hint: "Run it again. This page is of one that has ended.", code: "dashboard.away" });
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ message: `the answer has the status ${answer.status}` }));
    throw new Refused(answer.status, told);
  }
  return answer;
}

export async function get(path, signal) {
  return (await request("GET", path, { signal })).json();
}

export async function send(method, path, body) {
  return (await request(method, path, { body })).json();
}

// at is the path of an API.
export function at(name, ...rest) {
  return "/v1/apis/" + [name, ...rest].map(encodeURIComponent).join("/");
}

// lines calls fn with each line of a stream until its end, or until signal.
export async function lines(path, fn, { signal, after } = {}) {
  const answer = await request("GET", path, { signal, headers: after ? { "Last-Event-ID": after } : {} });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Refused(0, { message: "the stream was cut off" });
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) {
        if (!part) continue;
        const line = JSON.parse(part);
        if (line.end === true && Object.keys(line).every((k) => k === "end" || k === "error")) {
          if (line.error) throw new Refused(0, line.error);
          return;
        }
        fn(line);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have ended by itself
  }
}

// gather is all lines of a stream that ends, the last ones where there are more.
export async function gather(path, { signal, most = 5000 } = {}) {
  const all = [];
  await lines(path, (l) => {
    all.push(l);
    if (all.length > most * 2) all.splice(0, most);
  }, { signal });
  return all.slice(-most);
}

// pause waits, and less when it is not needed any more.
export function pause(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

// everything is what is deployed, by name, kept up to date by one stream of this page.
// A page that nobody sees has none: a browser has six connections for all of them.
export const everything = {
  apis: new Map(),
  known: false, // there was a first line
  away: null, // why nothing is heard
  spark: new Map(), // by name, the latest requests a second
  listeners: new Set(),
};

const tell = later(() => everything.listeners.forEach((fn) => fn()));

// follow calls fn when something has changed, until signal.
export function follow(fn, signal) {
  everything.listeners.add(fn);
  signal.addEventListener("abort", () => everything.listeners.delete(fn), { once: true });
  if (everything.known) fn();
}

function take(line) {
  if (line.snapshot) everything.apis.clear();
  for (const api of line.apis) {
    everything.apis.set(api.name, api);
    if (api.rates) before(api.name);
  }
  for (const name of line.gone || []) {
    everything.apis.delete(name);
    everything.spark.delete(name);
  }
  everything.known = true;
  everything.away = null;
  tell();
}

export async function run() {
  let after = "";
  for (;;) {
    if (document.hidden) await new Promise((shown) => document.addEventListener("visibilitychange", shown, { once: true }));
    const stop = new AbortController();
    let timer = 0;
    const hide = () => {
      clearTimeout(timer);
      if (document.hidden) timer = setTimeout(() => stop.abort(), 30000);
    };
    document.addEventListener("visibilitychange", hide);
    try {
      await lines("/v1/watch", (l) => { after = l.id; take(l); }, { after, signal: stop.signal });
      everything.away = new Refused(0, { message: "the environment has ended its stream" });
    } catch (e) {
      if (e.name !== "AbortError") everything.away = e;
    }
    document.removeEventListener("visibilitychange", hide);
    clearTimeout(timer);
    if (everything.away) {
      tell();
      await pause(1000);
    }
  }
}

// Sparklines are of a quarter of an hour, in the steps in which it is measured: what was
// before, of the first sixty APIs, and what is seen from then on.
const points = 90, asked = new Set();

async function before(name) {
  if (asked.has(name) || asked.size >= 60) return;
  asked.add(name);
  const m = await get(at(name, "series") + "?since=15m").catch(() => null);
  if (!m) return;
  everything.spark.set(name, m.requests.slice(m.requests.findIndex((v) => v >= 0)).map((v) => Math.max(0, v)).slice(-points));
  tell();
}

setInterval(() => {
  for (const [name, api] of everything.apis) {
    if (!api.rates) continue;
    const seen = [...(everything.spark.get(name) || []), api.rates.requests_per_second];
    everything.spark.set(name, seen.slice(-points));
  }
  if (everything.known) tell();
}, 10000);
