// What every screen is made with: elements, words and numbers. Text is only ever set as
// text: nothing here, and nothing else, writes markup.

// el makes an element. Props that begin with "on" are listeners, "style" is an object,
// false and null leave an attribute out; children are nodes, texts, or nothing.
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

// svg makes an element of a drawing.
export function svg(tag, props, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// put shows children in place of what a node has.
export function put(node, ...children) {
  node.replaceChildren(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// say sets a text only when it is another one.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Words for what there may be several of.
export function count(n, one, many) {
  return `${whole(n)} ${n === 1 ? one : many || one + "s"}`;
}

export function whole(n) {
  return Math.round(n).toLocaleString("en");
}

export function rate(n) {
  if (!(n > 0)) return "0";
  return n >= 100 ? whole(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2).replace(/0$/, "");
}

export function seconds(s) {
  if (!(s > 0)) return "–";
  if (s < 0.001) return Math.max(1, Math.round(s * 1e6)) + " µs";
  if (s < 1) return (s < 0.01 ? (s * 1000).toFixed(1) : Math.round(s * 1000)) + " ms";
  return s < 60 ? s.toFixed(s < 10 ? 2 : 1) + " s" : span(s);
}

// span is a longer time in two units at most.
export function span(s) {
  s = Math.max(0, Math.round(s));
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const i = units.findIndex(([, n]) => s >= n);
  if (i < 0) return "0s";
  const first = Math.floor(s / units[i][1]);
  const rest = units[i + 1] ? Math.floor((s % units[i][1]) / units[i + 1][1]) : 0;
  return first + units[i][0] + (rest && i < 3 ? " " + rest + units[i + 1][0] : "");
}

export function bytes(n) {
  if (!n) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < 4; i++) n /= 1024;
  return (n < 10 && i ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

export function percent(share) {
  if (!(share > 0)) return "0 %";
  return share < 0.001 ? "<0.1 %" : (share * 100).toFixed(share < 0.1 ? 1 : 0) + " %";
}

// moment is a time of the operator as a Date; null: none.
export function moment(t) {
  if (!t) return null;
  const at = typeof t === "number" ? new Date(t * 1000) : new Date(t);
  return at.getTime() > 0 ? at : null;
}

// ago is an element that says how long ago something was, and when.
export function ago(t) {
  const at = moment(t);
  if (!at) return el("span", {}, "–");
  const s = (Date.now() - at) / 1000;
  return el("time", { datetime: at.toISOString(), title: at.toLocaleString() }, s < -1 ? "in " + span(-s) : s < 5 ? "now" : span(s) + " ago");
}

export function clock(t) {
  const at = moment(t);
  return at ? at.toLocaleTimeString("en-GB") : "–";
}

// later runs fn once for many calls, when the page is drawn next.
export function later(fn) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      fn();
    });
  };
}

// onKey follows keys that are not typed into something.
export function onKey(map, signal) {
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input, textarea, select, dialog")) return;
    if (map[e.key]) {
      e.preventDefault();
      map[e.key]();
    }
  }, { signal });
}
