// The keyboard: two letters lead to a page, one does what is done most.

import { h } from "./dom.js";
import { dialog } from "./dialog.js";
import { go } from "./router.js";

const GO = { o: ["./", "Overview"], l: ["log", "Log"], s: ["streams", "Streams"], p: ["projections", "Projections"], r: ["read-models", "Read models"], c: ["commands", "Commands"], a: ["audit", "Audit"] };
let waitingForLetter = 0;

/** Begins to listen. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input:not([type=range]), textarea, select, [contenteditable], dialog")) return;
    const { key } = event;
    if (Date.now() - waitingForLetter < 1200 && Object.hasOwn(GO, key)) {
      waitingForLetter = 0;
      event.preventDefault();
      go(GO[key][0]);
    } else if (key === "g") {
      waitingForLetter = Date.now();
    } else if (key === "?") {
      event.preventDefault();
      showKeys();
    } else if (key === "/") {
      const field = document.querySelector("[data-search]");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select?.();
      }
    } else if (key === "j" || key === "k") {
      step(key === "j" ? 1 : -1);
    } else if (key === "n" || key === "p") {
      document.querySelector(key === "n" ? "[data-next]" : "[data-previous]")?.click();
    } else if (key === " " && !event.target.closest?.("button, a, summary, [tabindex='0'], input")) {
      const button = document.querySelector("[data-pause]");
      if (button) {
        event.preventDefault();
        button.click();
      }
    }
  });
}

function step(by) {
  const rows = [...document.querySelectorAll("main [data-row]")];
  const next = rows[rows.indexOf(document.activeElement) + by] ?? (by > 0 ? rows[0] : rows.at(-1));
  next?.focus();
}

const keyRow = (keys, what) => h("tr", {}, h("th", { scope: "row" }, keys.map((each) => h("kbd", {}, each))), h("td", {}, what));

/** Lists what the keyboard does. */
export function showKeys() {
  dialog("Keyboard", () => [
    h("table", { class: "keys" }, h("tbody", {},
      Object.entries(GO).map(([letter, [, name]]) => keyRow(["g", letter], name)),
      keyRow(["/"], "Search, where there is one"),
      keyRow(["j"], "The next row"),
      keyRow(["k"], "The row before"),
      keyRow(["n"], "The next page, or the next event"),
      keyRow(["p"], "The page or event before"),
      keyRow(["Space"], "Pause what is live, or go on"),
      keyRow(["?"], "This list"),
      keyRow(["Esc"], "Close"))),
  ]);
}
