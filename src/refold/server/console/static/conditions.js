// The filter of rows: conditions of a field, a comparison and a value, as the API takes them.

import { h, icon } from "./dom.js";
import { kindOf, parted } from "./schema.js";

const OWN = ["order_by", "limit", "cursor", "fresh"];
const ORDERED = [["", "is"], ["ne", "is not"], ["lt", "<"], ["le", "≤"], ["gt", ">"], ["ge", "≥"]];
const PLAIN = [["", "is"], ["ne", "is not"]];
const TEXT = [["starts_with", "begins with"], ["contains", "has in it"]];

/** What the address says: conditions `{ field, suffix, value }`. */
export function conditionsOf(query) {
  return [...query.entries()].filter(([name]) => !OWN.includes(name)).map(([name, value]) => {
    const inner = name.startsWith("where.") ? name.slice(6) : name;
    const at = inner.lastIndexOf(".");
    return at < 0 ? { field: inner, suffix: "", value } : { field: inner.slice(0, at), suffix: inner.slice(at + 1), value };
  });
}

/** Conditions as parameters. */
export function parametersOf(conditions) {
  const found = {};
  for (const { field, suffix, value } of conditions) {
    const shown = OWN.includes(field) || field.includes(".") ? `where.${field}` : field;
    const name = suffix ? `${shown}.${suffix}` : shown;
    (found[name] ??= []).push(value);
  }
  return found;
}

/** A form that builds them. `apply(conditions)` gets what was built. */
export function conditionForm(model, conditions, apply) {
  const rows = h("div", { class: "conditions" });
  const root = model.schema;
  const properties = parted(root, root).choices[0].properties ?? {};
  const form = h("form", {
    class: "filter", role: "search",
    onsubmit: (event) => {
      event.preventDefault();
      apply([...rows.children].map((row) => row.read()).filter(Boolean));
    },
  }, rows, h("div", { class: "filter-foot" },
    h("button", { type: "button", onclick: () => { rows.append(row({ field: model.compared[0], suffix: "", value: "" })); rows.lastChild.querySelector("select").focus(); } }, icon("plus"), "Condition"),
    h("button", { type: "submit", class: "primary" }, "Filter"),
    conditions.length ? h("button", { type: "button", class: "quiet", onclick: () => apply([]) }, "Clear all") : null));
  for (const each of conditions) if (model.compared.includes(each.field)) rows.append(row(each));

  function row(condition) {
    const field = h("select", { "aria-label": "Field", onchange: () => refill("") }, model.compared.map((name) => h("option", { value: name, selected: name === condition.field }, name)));
    const suffix = h("select", { "aria-label": "Comparison", onchange: () => place(value.value ?? "") });
    const slot = h("span", { class: "condition-value" });
    let value = h("input", {});
    const element = h("div", { class: "condition" }, field, suffix, slot,
      h("button", { type: "button", class: "quiet", "aria-label": "Leave this condition out", onclick: () => element.remove() }, "×"));
    function schema() {
      return parted(properties[field.value] ?? {}, root);
    }
    function refill(chosen) {
      const { choices: [kind], optional } = schema();
      const word = kindOf(kind);
      const all = [...(word === "boolean" ? PLAIN : ORDERED), ...(word === "text" && !kind.format ? TEXT : []), ...(optional ? [["is_none", "is missing"]] : [])];
      suffix.replaceChildren(...all.map(([name, label]) => h("option", { value: name, selected: name === chosen }, label)));
      place(condition.value);
    }
    function place(current) {
      const { choices: [kind] } = schema();
      const word = suffix.value === "is_none" ? "boolean" : kindOf(kind);
      const options = word === "choice" ? kind.enum ?? [kind.const] : word === "boolean" ? ["true", "false"] : null;
      const partial = suffix.value === "starts_with" || suffix.value === "contains";
      value = options && !partial
        ? h("select", { "aria-label": "Value" }, options.map((each) => h("option", { value: String(each), selected: String(each) === current }, each === "true" ? "yes" : each === "false" ? "no" : String(each))))
        : h("input", { "aria-label": "Value", value: current ?? "", type: kind.format === "date" ? "date" : "text", inputmode: word === "number" || word === "decimal" ? "decimal" : null, "data-search": true });
      slot.replaceChildren(value);
    }
    element.read = () => (value.value === "" && suffix.value !== "" ? null : { field: field.value, suffix: suffix.value, value: value.value });
    refill(condition.suffix);
    return element;
  }
  return form;
}
