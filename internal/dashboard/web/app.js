// The shell: which screen is shown, and whether the environment is heard.
import { el, put, onKey } from "./lib.js";
import { everything, follow, run } from "./call.js";
import { problem } from "./ui.js";

const screens = {
  "": () => import("./home.js"),
  api: () => import("./api.js"),
  events: () => import("./events.js"),
  schedules: () => import("./schedules.js"),
  callers: () => import("./callers.js"),
  simulate: () => import("./simulate.js"),
  audit: () => import("./audit.js"),
  environment: () => import("./environment.js"),
};

const main = document.getElementById("main");
const env = document.querySelector(".env").textContent;
let shown = null;
let first = true;

async function show() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen, ...parts] = path.split("/").map((p) => { try { return decodeURIComponent(p); } catch { return p; } });
  shown?.abort();
  const stop = shown = new AbortController();
  const names = { "": "APIs", api: parts[0] };
  document.title = `${names[screen] || screen[0]?.toUpperCase() + screen.slice(1)} · ${env} · Cortex`;
  for (const a of document.querySelectorAll("#nav a")) {
    const here = a.getAttribute("href") === "#/" + (screen === "api" ? "" : screen);
    here ? a.setAttribute("aria-current", "page") : a.removeAttribute("aria-current");
  }
  try {
    if (!screens[screen]) throw new Error("there is no such screen");
    const module = await screens[screen]();
    if (stop.signal.aborted) return;
    const root = el("div", { class: "screen" });
    put(main, root);
    module.default(root, parts, { signal: stop.signal, params: new URLSearchParams(query) });
  } catch (e) {
    put(main, problem(e));
  }
  if (!first) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
  first = false;
}

const link = document.getElementById("link");
follow(() => {
  const word = everything.away ? "away" : "live";
  if (link.textContent !== word) {
    link.textContent = word;
    link.className = "link " + word;
  }
  link.title = everything.away ? everything.away.message : "";
}, new AbortController().signal);

addEventListener("hashchange", show);
onKey({ g: () => { location.hash = "#/"; } });
show();
run();
