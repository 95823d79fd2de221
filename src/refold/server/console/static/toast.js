// A word about what was done; it goes away by itself, unless it is bad news.

import { h } from "./dom.js";

/** Says something at the edge of the page. `kind`: "good" or "bad". */
export function toast(text, kind = "good") {
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => each.remove() }, "×");
  const each = h("div", { class: `toast ${kind}` }, h("span", {}, text), close);
  document.getElementById("toasts").append(each);
  if (kind !== "bad") setTimeout(() => each.remove(), 6000);
}
