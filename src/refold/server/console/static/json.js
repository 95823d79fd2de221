// JSON whose numbers are kept as they were written: what no double can hold is not changed by being shown.

import { h } from "./dom.js";

/** A number that a double cannot hold: its digits. */
export class Numeral {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
  toJSON() {
    return this.text;
  }
}

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MARK = "\u0000#"; // no text in a log holds a NUL

/** Whether a double keeps all of a number's digits. */
function fits(token) {
  if (/^-?\d+$/.test(token)) return Number.isSafeInteger(Number(token));
  const digits = token.replace(/[eE].*$/, "").replace(/^-?[0.]*|\./g, "");
  return digits.length <= 15 && Number.isFinite(Number(token));
}

/** A value from JSON text. Raises SyntaxError. */
export function parse(text) {
  let marked = false;
  const kept = text.replace(TOKEN, (token) => {
    if (token[0] === '"' || fits(token)) return token;
    marked = true;
    return `"\\u0000#${token}"`;
  });
  if (!marked) return JSON.parse(text);
  return JSON.parse(kept, (_, value) =>
    typeof value === "string" && value.startsWith(MARK) ? new Numeral(value.slice(MARK.length)) : value,
  );
}

/** JSON text of a value, with numerals as they are. */
export function encode(value) {
  if (value instanceof Numeral) return value.text;
  if (Array.isArray(value)) return `[${value.map(encode).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).filter(([, each]) => each !== undefined);
    return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${encode(each)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

/** A value in one short line of plain text, as in `owner "alice", amount "100"`. */
export function inLine(value, most = 160) {
  let text;
  if (value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Numeral)) {
    text = Object.entries(value).map(([name, each]) => `${name} ${plain(each)}`).join(" · ");
  } else text = plain(value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

/** One value as plain text: text as it is, the rest as JSON. */
export function plain(value) {
  return typeof value === "string" ? value : encode(value);
}

const MOST = 1500;

/** A value as indented JSON with its parts in colours. Very large ones are shown in part until one asks for all. */
export function jsonView(value, { label = "JSON", changed = new Set() } = {}) {
  const view = h("pre", { class: "json", tabindex: 0, role: "region", "aria-label": label });
  draw(view, value, MOST, changed);
  return view;
}

function draw(view, value, most, changed) {
  const budget = { left: most };
  view.replaceChildren();
  write(view, value, 0, "", budget, changed);
  if (budget.left < 0) {
    view.append("\n");
    view.append(h("button", { type: "button", class: "quiet", onclick: () => draw(view, value, Infinity, changed) }, "Show all of it"));
  }
}

function write(out, value, depth, path, budget, changed) {
  budget.left -= 1;
  if (budget.left < 0) {
    out.append("…");
    return;
  }
  const list = Array.isArray(value);
  if (value === null || typeof value !== "object" || value instanceof Numeral) {
    const kind = typeof value === "string" ? "text" : value === null ? "null" : typeof value === "boolean" ? "bool" : "number";
    out.append(h("span", { class: `json-${kind}` }, encode(value)));
    return;
  }
  const entries = Object.entries(value);
  if (!entries.length) {
    out.append(list ? "[]" : "{}");
    return;
  }
  out.append(list ? "[" : "{");
  for (const [place, [name, each]] of entries.entries()) {
    out.append(`\n${"  ".repeat(depth + 1)}`);
    const inner = path ? `${path}.${name}` : name;
    const line = changed.has(inner) ? h("mark", {}) : document.createDocumentFragment();
    if (!list) line.append(h("span", { class: "json-name" }, JSON.stringify(name)), ": ");
    write(line, each, depth + 1, inner, budget, changed);
    if (place < entries.length - 1) line.append(",");
    out.append(line);
    if (budget.left < 0) break;
  }
  out.append(`\n${"  ".repeat(depth)}${list ? "]" : "}"}`);
}
