// What a page shows when it has nothing, not yet anything, or bad news.

import { h, icon } from "./dom.js";

/** While something is fetched. */
export function waiting(words = "Loading…") {
  return h("div", { class: "state waiting", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), words);
}

/** A line that says how far something is, with a button to stop it. Both are made once: a press during which the next words
 *  come would be lost with the button. `stop.asked` says whether it was pressed. */
export function underWay(words = "") {
  const stop = { asked: false };
  const far = h("span", {}, words);
  const button = h("button", { type: "button", class: "small", hidden: true, onclick: () => { stop.asked = true; button.disabled = true; } }, "Stop");
  const line = h("div", { class: "searching" }, h("span", { class: "spinner", "aria-hidden": "true" }), far, " ", button);
  const told = (text) => {
    far.textContent = text;
    button.hidden = false;
  };
  return { line, stop, told };
}

/** Nothing is there; what that means, and what one could do. */
export function empty(title, ...more) {
  return h("div", { class: "state empty" }, h("p", { class: "state-title" }, title), more.length ? h("p", {}, more) : null);
}

const MEANS = {
  forbidden: "Your roles do not allow that. An operator of this server can give you another key.",
  "not-found": "It may never have been here, or the address has a slip in it.",
  unreachable: "The page tries nothing by itself; try again once the server is there.",
  timeout: "It was too much for one answer. Narrow it down.",
};

/** Something went wrong: what, and how to go on. */
export function problemShown(problem, again = null) {
  return h("div", { class: "state problem", role: "alert" },
    h("h1", { class: "state-title" }, icon("warn"), problem.title || "It went wrong"),
    h("p", {}, problem.message),
    MEANS[problem.code] ? h("p", { class: "faint" }, MEANS[problem.code]) : null,
    again && problem.code !== "forbidden" && problem.code !== "not-found" ? h("p", {}, h("button", { type: "button", onclick: () => again() }, "Try again")) : null);
}

/** The same in a line. */
export function problemLine(problem) {
  return h("p", { class: "problem-line" }, icon("warn"),
    h("span", {}, problem.field ? h("code", {}, problem.field) : null, problem.field ? " " : null, problem.message));
}

/** A list may not be looked at. */
export function notAllowed(what) {
  return h("p", { class: "note" }, what);
}
