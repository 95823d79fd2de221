// The rows of a read model: filtered, sorted, page by page.

import { get } from "../api.js";
import { conditionForm, conditionsOf, parametersOf } from "../conditions.js";
import { fill, h } from "../dom.js";
import { prose } from "../events.js";
import { pageHead } from "../frame.js";
import { encode, inLine, Numeral, plain } from "../json.js";
import { count } from "../numbers.js";
import { go, link, pageAddress } from "../router.js";
import { kindOf, parted } from "../schema.js";
import { empty, problemLine } from "../states.js";
import { pager, table } from "../table.js";

const PAGE = 50;

export default async function page({ parts, query, signal, titled }) {
  const name = parts[1];
  titled(name);
  const { read_models: models } = await get(["read-models"], {}, { signal });
  const model = models.find((each) => each.name === name);
  if (!model) return [pageHead(name, { above: [["read-models"], "Read models"] }), empty("There is no such read model that you may read.")];
  const conditions = conditionsOf(query);
  const filters = parametersOf(conditions);
  const order = query.getAll("order_by");
  const cursor = query.get("cursor") ?? "";
  const list = h("section", { "aria-label": "Rows" });
  const counted = h("span", { role: "status" });
  const at = (more) => pageAddress(parts, { ...filters, order_by: order, ...more });
  const sort = (next) => go(at({ order_by: next ? [next] : [], cursor: "" }));
  const counting = h("button", { type: "button", onclick: countThem }, "Count them");

  async function countThem() {
    counting.disabled = true;
    try {
      const answer = await get(["read-models", name, "count"], filters, { signal });
      fill(counted, count(answer.count, "row"));
    } catch (problem) {
      if (!signal.aborted) fill(counted, problem.message);
    }
    counting.disabled = false;
  }

  try {
    const { rows, next } = await get(["read-models", name, "rows"], { ...filters, order_by: order, cursor, limit: PAGE }, { signal });
    fill(list, rows.length ? table(`Rows of ${name}`, columnsOf(model), rows, { sorted: order[0] ?? "", onSort: sort }).element : nothing(conditions, cursor),
      pager({ newer: cursor ? at({}) : null, newerLabel: "First", older: next ? at({ cursor: next }) : null, olderLabel: "Next" }));
  } catch (problem) {
    if (signal.aborted) throw problem;
    fill(list, problemLine(problem));
  }
  return [
    pageHead(name, { above: [["read-models"], "Read models"], lead: prose(model.description.split("\n")[0]), actions: [counted, counting, link(["projections", name], "Its projection", { class: "button" })] }),
    conditionForm(model, conditions, (chosen) => go(pageAddress(parts, { ...parametersOf(chosen), order_by: order }))),
    list,
  ];
}

function nothing(conditions, cursor) {
  if (cursor) return empty("These were all.");
  return conditions.length ? empty("No row fits.", "Leave a condition out, or change it.") : empty("There are no rows yet.", "Rows appear when events of this read model do.");
}

function columnsOf(model) {
  const root = model.schema;
  const properties = parted(root, root).choices[0].properties ?? {};
  return Object.entries(properties).map(([name, schema]) => {
    const kind = kindOf(parted(schema, root).choices[0]);
    const numeric = kind === "number" || kind === "decimal";
    return {
      label: name,
      sort: model.compared.includes(name) ? name : null,
      kind: numeric ? "num nowrap" : null,
      cell: (row) => (name === model.key[0] ? rowLink(model, row, name) : cellOf(row[name])),
    };
  });
}

function rowLink(model, row, name) {
  return link(["read-models", model.name, "row"], plain(row[name]), { class: "strong mono row-key", "data-row": true, query: { key: model.key.map((each) => plain(row[each])) } });
}

function cellOf(value) {
  if (value === null || value === undefined) return h("span", { class: "faint" }, "–");
  if (value === true || value === false) return value ? "yes" : "no";
  if (typeof value === "object" && !(value instanceof Numeral)) return h("span", { class: "mono", title: encode(value).slice(0, 2000) }, inLine(value, 60));
  const text = plain(value);
  if (text.length < 30) return h("span", { class: "nowrap" }, text);
  return text.length > 90 ? h("span", { title: text.slice(0, 2000) }, `${text.slice(0, 90)}…`) : text;
}
