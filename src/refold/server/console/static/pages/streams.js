// Streams: those of a category, in the order of their ids; or one by its id at once.

import { get, may, session } from "../api.js";
import { h } from "../dom.js";
import { catalogue } from "../filters.js";
import { pageHead } from "../frame.js";
import { number } from "../numbers.js";
import { go, link, pageAddress } from "../router.js";
import { empty } from "../states.js";
import { pager, table } from "../table.js";
import { timeOf } from "../time.js";

const COLUMNS = [
  { label: "Stream", kind: "grow", cell: (each) => link(["streams", each.stream], each.stream, { class: "mono strong", "data-row": true }) },
  { label: "Version", kind: "num", cell: (each) => number(each.version) },
  { label: "Last event", kind: "nowrap", cell: (each) => timeOf(each.recorded_at, { relative: true }) },
  { label: "at position", kind: "num wide", cell: (each) => link(["events", String(each.position)], number(each.position), { class: "faint" }) },
];

export default async function page({ query, signal, titled }) {
  titled("Streams");
  const { categories } = await catalogue(signal);
  const mine = may("reader") ? categories : categories.filter((each) => session.me.roles.includes(`reader:${each}`));
  const category = query.get("category") ?? (may("reader") ? "" : mine[0] ?? "");
  const after = query.get("after") ?? "";
  const { streams, next } = await get(["streams"], { category, after, limit: 100 }, { signal });
  const chosen = h("select", { name: "category", onchange: (event) => go(pageAddress(["streams"], { category: event.target.value })) },
    may("reader") ? h("option", { value: "" }, "All categories") : null,
    mine.map((each) => h("option", { value: each, selected: each === category }, each)));
  const id = h("input", { name: "stream", type: "search", "data-search": true, autocomplete: "off", spellcheck: "false", placeholder: mine[0] ? `${mine[0]}-…` : "category-key", required: true });
  const open = h("form", { class: "filter", role: "search", onsubmit: (event) => { event.preventDefault(); go(pageAddress(["streams", id.value.trim()])); } },
    h("div", { class: "filter-row" },
      h("label", { class: "field grow" }, h("span", {}, "Open a stream by its id"), id), h("button", { type: "submit", class: "primary" }, "Open"),
      h("label", { class: "field" }, h("span", {}, "Or list those of"), chosen)));
  const list = streams.length
    ? table("Streams in the order of their ids", COLUMNS, streams).element
    : empty(after ? "These were all." : "There are no streams.", after ? null : "A stream begins with its first event.");
  return [
    pageHead("Streams"), open, list,
    pager({ newer: after ? pageAddress(["streams"], { category }) : null, newerLabel: "First", older: next ? pageAddress(["streams"], { category, after: next }) : null, olderLabel: "Next" }),
  ];
}
