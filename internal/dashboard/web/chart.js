// Small charts: lines over time as SVG, with their numbers as text beside.
import { el, svg, put, clock } from "./lib.js";

const W = 600, H = 120;

// path draws the known values of a series; -1 is not known, and a gap.
function path(values, top, area) {
  const step = W / Math.max(1, values.length - 1);
  let d = "", begun = -1;
  const y = (v) => (H - 2 - (v / top) * (H - 8)).toFixed(1);
  const close = (i) => {
    if (area && begun >= 0) d += `L${((i - 1) * step).toFixed(1)} ${H}L${(begun * step).toFixed(1)} ${H}Z`;
    begun = -1;
  };
  values.forEach((v, i) => {
    if (v < 0) return close(i);
    d += (begun < 0 ? "M" : "L") + (i * step).toFixed(1) + " " + y(v);
    if (begun < 0) begun = i;
  });
  close(values.length);
  return d;
}

// nice is the number above a value at which an axis ends.
function nice(v) {
  if (!(v > 0)) return 1;
  const ten = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 2.5, 5, 10].find((n) => n * ten >= v) * ten;
}

// chart is a figure of lines of the same unit: {title, lines: [{name, values}], words, from, step}.
export function chart({ title, lines, words, from, step }) {
  const all = lines.flatMap((l) => l.values).filter((v) => v >= 0);
  const high = all.length ? Math.max(...all) : 0;
  const top = nice(high);
  const last = (l) => l.values.findLast((v) => v >= 0);
  const time = (i) => clock(from.getTime() / 1000 + i * step);
  const n = lines[0].values.length;
  const now = el("span", { class: "now" });
  const rest = () => put(now, all.length ? lines.map((l, i) => [i ? " · " : "", lines.length > 1 ? [el("i", { class: "key k" + i }), l.name + " "] : "", el("b", {}, last(l) === undefined ? "–" : words(last(l)))]) : "nothing yet");
  rest();
  const cursor = svg("line", { class: "cursor", y1: 0, y2: H, x1: -9, x2: -9 });
  const plot = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${all.length ? lines.map((l) => `${l.name} ${last(l) === undefined ? "not known" : words(last(l))} now, ${words(Math.max(0, ...l.values))} at most`).join("; ") : "nothing was measured yet"}` },
    svg("line", { class: "grid", x1: 0, x2: W, y1: 6, y2: 6 }), svg("line", { class: "grid", x1: 0, x2: W, y1: H / 2 + 2, y2: H / 2 + 2 }), svg("line", { class: "base", x1: 0, x2: W, y1: H - 1, y2: H - 1 }),
    lines.map((l, i) => [i === 0 ? svg("path", { class: "area k" + i, d: path(l.values, top, true) }) : null, svg("path", { class: "line k" + i, d: path(l.values, top) })]), cursor);
  plot.addEventListener("pointermove", (e) => {
    const box = plot.getBoundingClientRect();
    const i = Math.min(n - 1, Math.max(0, Math.round(((e.clientX - box.left) / box.width) * (n - 1))));
    const x = (i * W) / Math.max(1, n - 1);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    put(now, time(i) + "  ", lines.map((l, k) => [k ? " · " : "", el("i", { class: "key k" + k }), l.name + " ", el("b", {}, l.values[i] < 0 ? "–" : words(l.values[i]))]));
  });
  plot.addEventListener("pointerleave", () => {
    cursor.setAttribute("x1", -9);
    cursor.setAttribute("x2", -9);
    rest();
  });
  return el("figure", { class: "chart" }, el("figcaption", {}, el("span", { class: "title" }, title), now),
    el("div", { class: "plot" }, el("span", { class: "top", "aria-hidden": "true" }, words(top)), plot),
    el("div", { class: "times", "aria-hidden": "true" }, el("span", {}, time(0)), el("span", {}, time(n - 1))));
}

// sparkline is a line without numbers, beside which they stand.
export function sparkline(values) {
  const known = values || [];
  const top = Math.max(0.001, ...known);
  const w = 96, h = 22;
  const d = known.map((v, i) => (i ? "L" : "M") + (w - (known.length - 1 - i) * (w / 89)).toFixed(1) + " " + (h - 2 - (Math.max(0, v) / top) * (h - 5)).toFixed(1)).join("");
  return svg("svg", { class: "spark", viewBox: `0 0 ${w} ${h}`, "aria-hidden": "true" }, svg("path", { d: d || `M0 ${h - 2}H${w}` }));
}
