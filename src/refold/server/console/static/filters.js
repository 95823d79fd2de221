// The filter of the log: fields that say what is wanted, and what they said as parameters.

import { get } from "./api.js";
import { h } from "./dom.js";
import { fromLocal, toLocal } from "./time.js";

export const NAMES = ["text", "type", "category", "tag", "actor", "correlation_id", "since", "until"];

let known = null;

/** The categories and types that the app has, fetched once. */
export async function catalogue(signal) {
  known ??= await get(["catalogue"], {}, { signal });
  return known;
}

/** The parameters of the API that the address says. */
export function wanted(query) {
  return Object.fromEntries(NAMES.map((name) => [name, query.getAll(name).filter(Boolean)]).filter(([, values]) => values.length));
}

/** A form for them. `apply(parameters)` gets what was written. `without` leaves fields out. */
export function filterForm(query, { categories, events }, apply, { main = ["text", "type", "category"], rare = ["actor", "correlation_id", "tag", "since", "until"], extra = [] } = {}) {
  const words = (name) => query.getAll(name).join(" ");
  const field = (name, label, props) => h("label", { class: "field" }, h("span", {}, label), h("input", { name, value: words(name), autocomplete: "off", spellcheck: "false", ...props }));
  const choices = (id, values) => h("datalist", { id }, values.map((each) => h("option", { value: each })));
  const moment = (name, label) => h("label", { class: "field moment-field" }, h("span", {}, label), h("input", { name, type: "datetime-local", step: 1, value: toLocal(query.get(name)) }));
  const fields = {
    text: () => h("label", { class: "field grow" }, h("span", {}, "Text in the payload"), h("input", { name: "text", type: "search", value: query.get("text") ?? "", "data-search": true, placeholder: "press / to search" })),
    type: () => field("type", "Event", { list: "known-types", placeholder: "any" }),
    category: () => field("category", "Category", { list: "known-categories", placeholder: "any" }),
    actor: () => field("actor", "Actor", { placeholder: "anybody", "data-search": main.includes("actor") }),
    correlation_id: () => field("correlation_id", "Correlation id", { placeholder: "any" }),
    tag: () => field("tag", "Tags", { placeholder: "any", title: "Several with spaces between: all of them" }),
    since: () => moment("since", "Recorded from"),
    until: () => moment("until", "Recorded before"),
  };
  const open = rare.some((name) => query.get(name));
  const form = h("form", {
    class: "filter", role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      apply(read(form));
    },
  },
  h("div", { class: "filter-row" }, main.map((name) => fields[name]()), extra, h("button", { type: "submit", class: "primary" }, "Search")),
  rare.length ? h("details", { open }, h("summary", {}, "More: by person, conversation, tag and time"), h("div", { class: "filter-row" }, rare.map((name) => fields[name]()))) : null,
  choices("known-types", events.map((each) => each.name)), choices("known-categories", categories));
  return form;
}

/** What the fields say. Types, categories and tags may be several, with spaces between. */
export function read(form) {
  const data = new FormData(form);
  const found = {};
  for (const [name, value] of data.entries()) {
    const text = String(value).trim();
    if (!text) continue;
    if (name === "since" || name === "until") found[name] = fromLocal(text);
    else if (name === "type" || name === "category" || name === "tag") found[name] = text.split(/[\s,]+/).filter(Boolean);
    else found[name] = text;
  }
  return found;
}

const LABELS = { text: "payload has", type: "event", category: "category", tag: "tag", actor: "by", correlation_id: "conversation", since: "from", until: "until" };

/** What is filtered for, each with a way to leave it out. */
export function chips(query, apply) {
  const each = NAMES.flatMap((name) => query.getAll(name).filter(Boolean).map((value) => [name, value]));
  if (!each.length) return null;
  const without = (name, value) => {
    const found = wanted(query);
    found[name] = found[name].filter((other) => other !== value);
    return found;
  };
  return h("ul", { class: "chips", "aria-label": "Filters" }, each.map(([name, value]) => h("li", {},
    h("span", { class: "faint" }, `${LABELS[name]} `), name === "since" || name === "until" ? toLocal(value).replace("T", " ") : value,
    h("button", { type: "button", class: "quiet", "aria-label": `Leave out: ${LABELS[name]} ${value}`, onclick: () => apply(without(name, value)) }, "×"))),
    h("li", { class: "chip-all" }, h("button", { type: "button", class: "quiet", onclick: () => apply({}) }, "Clear all")));
}
