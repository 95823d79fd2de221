// What a rebuild would change: how many rows of each kind, the first of them, and the event behind each.

import { h } from "./dom.js";
import { beforeAfter } from "./events.js";
import { plain } from "./json.js";
import { count, number } from "./numbers.js";
import { link } from "./router.js";
import { table } from "./table.js";

const KINDS = { added: "new", removed: "removed", changed: "changed", extended: "with another value in a new field" };

/** The result of a comparison. */
export function rebuildDiff(diff) {
  const differing = Object.entries(diff.counts).filter(([, each]) => each);
  const total = differing.reduce((sum, [, each]) => sum + each, 0);
  return h("div", { class: "diff" },
    h("p", {}, differing.length ? [h("strong", {}, differing.map(([kind, each]) => `${count(each, "row")} ${KINDS[kind]}`).join(", ")), `, ${number(diff.same)} stay as they are.`] : h("strong", {}, `No row would change: all ${number(diff.same)} stay as they are.`)),
    diff.definition ? h("p", { class: "faint small" }, `In the class: ${diff.definition}.`) : null,
    notes(diff),
    diff.rows.length ? table("Rows that a rebuild would change", COLUMNS(diff.name), diff.rows).element : null,
    total > diff.rows.length ? h("p", { class: "note" }, `And ${number(total - diff.rows.length)} more.`) : null);
}

function notes(diff) {
  const all = [[diff.new_fields, "New fields"], [diff.gone_fields, "Fields that are gone, and not compared"], [diff.not_comparable, "Fields of another type, and not compared"]];
  return [
    all.filter(([names]) => names.length).map(([names, words]) => h("p", { class: "faint small" }, `${words}: ${names.join(", ")}`)),
    diff.uncompared ? h("p", { class: "faint small" }, `${count(diff.uncompared, "row")} moved all the time, and could not be compared.`) : null,
  ];
}

const COLUMNS = (name) => [
  { label: "Row", kind: "at-type", cell: (row) => link(["read-models", name, "row"], row.key.map(plain).join(" · "), { class: "mono strong", query: { key: row.key.map(plain) } }) },
  { label: "It is", kind: "at-position", cell: (row) => row.kind },
  { label: "Change", kind: "grow at-payload", cell: (row) => h("ul", { class: "changes" }, [...new Set([...Object.keys(row.old), ...Object.keys(row.new)])].map((field) => h("li", {}, h("span", { class: "field-name" }, field), " ", beforeAfter(between(row, field))))) },
  { label: "Because", kind: "at-more", cell: (row) => (row.why ? [row.why.position ? [link(["events", String(row.why.position)], row.why.type || number(row.why.position)), " "] : null, h("span", { class: "faint small" }, row.why.because)] : null) },
];

function between(row, field) {
  return { ...(Object.hasOwn(row.old, field) ? { before: row.old[field] } : {}), ...(Object.hasOwn(row.new, field) ? { after: row.new[field] } : {}) };
}
