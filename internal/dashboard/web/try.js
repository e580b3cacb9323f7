// Try it: a request to the API, as `cortex predict` makes one.
import { el, put, seconds } from "./lib.js";
import { send, everything } from "./call.js";
import { field, problem, card, chip, facts } from "./ui.js";

export default function tryIt(root, [name]) {
  const out = el("div", { role: "status" });
  const method = el("select", {}, ["POST", "GET", "PUT", "PATCH", "DELETE", "HEAD"].map((m) => el("option", {}, m)));
  const path = el("input", { type: "text", placeholder: "/", size: "24" });
  const kind = el("input", { type: "text", value: "application/json", size: "20" });
  const key = el("input", { type: "password", autocomplete: "off", placeholder: "$CORTEX_API_KEY" });
  const body = el("textarea", { rows: "8", spellcheck: "false" });
  const go = el("button", { type: "submit", class: "primary" }, "Send");
  const form = el("form", { class: "try" }, el("div", { class: "row tools" }, field("Method", method), field("Path below the endpoint", path), field("Content-Type", kind), field("Key", key)), field("Body", body), el("p", {}, go));
  form.addEventListener("submit", async (e) => {
    e.preventDefault();
    go.disabled = true;
    try {
      const r = await send("POST", "/try/" + encodeURIComponent(name), { method: method.value, path: path.value, body: ["GET", "HEAD"].includes(method.value) ? "" : body.value, content_type: kind.value, key: key.value });
      let text = r.body;
      if (/json/.test(r.content_type)) try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is shown as it is */ }
      put(out, card(null, el("h2", {}, chip(r.status < 400 ? "succeeded" : "failed"), ` ${r.status} in ${seconds(r.seconds)}`), facts([["Content-Type", r.content_type], ...Object.entries(r.headers)]), el("pre", { tabindex: "0" }, text || "(no body)"), r.cut ? el("p", { class: "quiet" }, "There is more of it: only the beginning is shown.") : null));
    } catch (x) {
      put(out, problem(x));
    }
    go.disabled = false;
  });
  const endpoint = everything.apis.get(name)?.endpoint;
  put(root, el("p", { class: "quiet" }, "It is sent by ", el("code", {}, "cortex dashboard"), ", as ", el("code", {}, "cortex predict"), " does", endpoint ? [", to ", el("code", {}, endpoint)] : "", "."), form, out);
}
