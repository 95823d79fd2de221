// Tables: a caption for those who listen, columns that say what they are, rows of nodes.

import { h, icon } from "./dom.js";

/** A table. `columns`: `{ label, cell(row), kind, sort, unseen }`; `kind` is a class of its cells (`num`, `wide`, `grow`). */
export function table(caption, columns, rows, { sorted = null, onSort = null, rowClass = null } = {}) {
  const body = h("tbody", {}, rows.map((row) => tableRow(columns, row, rowClass)));
  // Columns that say what they are of an event can stand below each other on a phone.
  const stacks = columns.some((column) => column.kind?.includes("at-type"));
  const element = h("table", { class: stacks ? "stacks" : null },
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, columns.map((column) => heading(column, sorted, onSort)))),
    body);
  return { element: h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table: ${caption}` }, element), body };
}

/** One row. */
export function tableRow(columns, row, rowClass = null) {
  return h("tr", { class: rowClass?.(row) || null }, columns.map((column) => h("td", { class: column.kind ?? null }, column.cell(row))));
}

function heading(column, sorted, onSort) {
  const label = column.unseen ? h("span", { class: "unseen" }, column.label) : column.label;
  if (!column.sort || !onSort) return h("th", { scope: "col", class: column.kind ?? null }, label);
  const direction = sorted?.replace("-", "") === column.sort ? (sorted.startsWith("-") ? "descending" : "ascending") : null;
  const next = direction === "ascending" ? `-${column.sort}` : direction === "descending" ? "" : column.sort;
  return h("th", { scope: "col", class: column.kind ?? null, "aria-sort": direction },
    h("button", { type: "button", class: "sort", onclick: () => onSort(next) }, label, direction ? h("span", { class: `arrow ${direction}` }, icon("chevron")) : null));
}

/** Names and values, one below the other. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Before and behind: links to the pages next to this one. */
export function pager({ newer = null, older = null, newerLabel = "Newer", olderLabel = "Older", note = null }) {
  return h("nav", { class: "pager", "aria-label": "Pages of the list" },
    newer ? h("a", { class: "button", href: newer, "data-previous": true }, icon("left"), newerLabel) : null,
    older ? h("a", { class: "button", href: older, "data-next": true }, olderLabel, icon("right")) : null,
    note ? h("span", { class: "faint" }, note) : null);
}
