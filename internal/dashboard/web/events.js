// What happened, to every API.
import { el, put } from "./lib.js";
import { gather } from "./call.js";
import { problem } from "./ui.js";
import { eventTable } from "./api.js";

export default async function events(root, _, { signal }) {
  const body = el("div", {}, el("p", { class: "quiet" }, "Reading…"));
  put(root, el("div", { class: "head" }, el("div", {}, el("h1", {}, "Events"), el("p", { class: "sum" }, "The latest 500: deploys, decisions of the autoscaler, what failed."))), body);
  try {
    put(body, eventTable((await gather("/v1/events", { signal, most: 500 })).reverse(), true));
  } catch (e) {
    if (e.name !== "AbortError") put(body, problem(e));
  }
}
