// Forms from JSON schemas: a field for each field of the class, down to the last nested one.
// Every field is `{ element, read(), write(value) }`; `read` gives undefined for what was left out, and raises FieldProblem.

import { h, icon, freshId } from "./dom.js";
import { encode, Numeral, parse, plain } from "./json.js";
import { kindOf, parted, resolved } from "./schema.js";

/** What was written does not fit, and where. */
export class FieldProblem extends Error {
  constructor(message, input) {
    super(message);
    this.input = input;
  }
}

const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;
const WHOLE = /^-?\d+$/;
const DEEP = 12;

/** The fields of an object's schema. */
export function formOf(schema, root, depth = 0) {
  const found = resolved(schema, root);
  const required = new Set(found.required ?? []);
  const fields = Object.entries(found.properties ?? {}).map(([name, each]) => [name, fieldOf(name, each, root, required.has(name), depth)]);
  return {
    element: h("div", { class: "form-fields" }, fields.map(([, field]) => field.element)),
    read() {
      const value = {};
      for (const [name, field] of fields) {
        const each = field.read();
        if (each !== undefined) value[name] = each;
      }
      return value;
    },
    write(value) {
      for (const [name, field] of fields) if (value && Object.hasOwn(value, name)) field.write(value[name]);
    },
  };
}

function fieldOf(label, schema, root, required, depth) {
  const { choices, optional, schema: whole } = parted(schema, root);
  const missing = !required || optional;
  const hint = whole.description ?? choices[0].description;
  let field;
  if (depth > DEEP) field = anyField(label, required);
  else if (choices.length > 1) field = oneOf(label, choices, root, missing, depth);
  else field = single(label, choices[0], root, missing, depth);
  // What has a default and is left alone is left out: the class knows its default best.
  if ("default" in whole && whole.default !== null && field.startsWith) field.startsWith(whole.default);
  if (hint && field.hint) field.hint(hint);
  const { read } = field;
  field.read = () => {
    const value = read();
    return value === undefined && required && optional ? null : value;
  };
  return field;
}

function single(label, schema, root, missing, depth) {
  switch (kindOf(schema)) {
    case "choice": return choiceField(label, schema, missing);
    case "boolean": return booleanField(label, missing);
    case "number": return numberField(label, schema, missing);
    case "decimal": return textField(label, schema, missing, { inputmode: "decimal" }, decimal);
    case "text": return textField(label, schema, missing, {}, (text) => text);
    case "list": return listField(label, schema, root, depth);
    case "object": return objectField(label, schema, root, missing, depth);
    case "map": return mapField(label, schema, root, depth);
    default: return anyField(label, !missing);
  }
}

function decimal(text, input) {
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text)) throw new FieldProblem("Write a number, as in 12.50", input);
  return text;
}

function labelled(label, missing, input) {
  const note = h("span", { class: "faint small hint" });
  const id = freshId("field");
  input.id = id;
  const element = h("div", { class: "field" }, h("label", { for: id }, label, missing ? h("span", { class: "faint" }, " optional") : null), input, note);
  return { element, hint: (text) => { note.textContent = text; }, input };
}

const TYPES = { date: "date", "date-time": "datetime-local", time: "time", email: "email" };

function textField(label, schema, missing, props, made) {
  const long = (schema.maxLength ?? 0) > 200;
  const input = h(long ? "textarea" : "input", {
    ...(long ? { rows: 3 } : { type: TYPES[schema.format] ?? "text", step: schema.format === "date-time" || schema.format === "time" ? 1 : null }),
    required: !missing && schema.minLength !== 0, maxlength: schema.maxLength, autocomplete: "off", spellcheck: "false", ...props,
  });
  const field = labelled(label, missing, input);
  const moment = schema.format === "date-time";
  return {
    ...field,
    read() {
      if (input.value === "") return missing ? undefined : made("", input);
      return moment ? new Date(input.value).toISOString() : made(input.value, input);
    },
    write: (value) => { input.value = value === null ? "" : plain(value); },
    startsWith: (value) => { input.placeholder = plain(value); },
  };
}

function numberField(label, schema, missing) {
  const whole = schema.type === "integer";
  const input = h("input", { type: "text", inputmode: whole ? "numeric" : "decimal", required: !missing, autocomplete: "off" });
  return {
    ...labelled(label, missing, input),
    read() {
      const text = input.value.trim();
      if (!text) {
        if (missing) return undefined;
        throw new FieldProblem("Write a number", input);
      }
      if (!(whole ? WHOLE : NUMBER).test(text)) throw new FieldProblem(whole ? "Write a whole number" : "Write a number", input);
      return new Numeral(text.replace(/^(-?)0+(?=\d)/, "$1"));
    },
    write: (value) => { input.value = value === null ? "" : plain(value); },
    startsWith: (value) => { input.placeholder = plain(value); },
  };
}

function booleanField(label, missing) {
  if (missing) return choiceField(label, { enum: [true, false] }, true, (value) => (value ? "yes" : "no"));
  const input = h("input", { type: "checkbox" });
  const element = h("div", { class: "field check" }, h("label", {}, input, " ", label));
  return { element, read: () => input.checked, write: (value) => { input.checked = Boolean(value); } };
}

function choiceField(label, schema, missing, shown = plain) {
  const options = schema.enum ?? [schema.const];
  const input = h("select", { required: !missing },
    missing || options.length > 1 ? h("option", { value: "" }, missing ? "not given" : "choose…") : null,
    options.map((each, place) => h("option", { value: String(place) }, shown(each))));
  return {
    ...labelled(label, missing, input),
    read() {
      if (input.value !== "") return options[Number(input.value)];
      if (missing) return undefined;
      throw new FieldProblem("Choose one", input);
    },
    write: (value) => {
      const place = options.findIndex((each) => encode(each) === encode(value));
      input.value = place < 0 ? "" : String(place);
    },
    startsWith: (value) => { if (missing && input.options.length) input.options[0].textContent = `${shown(value)} (default)`; },
  };
}

function objectField(label, schema, root, missing, depth) {
  let inner = null;
  const slot = h("div", {});
  const give = h("button", { type: "button", class: "small", onclick: () => (inner ? drop() : make()) });
  const element = h("fieldset", {}, h("legend", {}, label, missing ? h("span", { class: "faint" }, " optional") : null), missing ? give : null, slot);
  function make() {
    inner = formOf(schema, root, depth + 1);
    slot.replaceChildren(inner.element);
    give.textContent = "Leave it out";
  }
  function drop() {
    inner = null;
    slot.replaceChildren();
    give.replaceChildren(icon("plus"), "Give it");
  }
  if (missing) drop();
  else make();
  return {
    element,
    read: () => (inner ? inner.read() : undefined),
    write(value) {
      if (value === null || value === undefined) return;
      if (!inner) make();
      inner.write(value);
    },
  };
}

function items(label, one, element) {
  const rows = [];
  const list = h("div", { class: "items" });
  function add() {
    const made = one(rows.length);
    const row = h("div", { class: "item" }, made.element, h("button", { type: "button", class: "quiet", "aria-label": `Leave out: ${label}`, onclick: () => { rows.splice(rows.indexOf(made), 1); row.remove(); } }, "×"));
    rows.push(made);
    list.append(row);
    return made;
  }
  element.append(list, h("button", { type: "button", class: "small", onclick: () => add().element.querySelector("input, select, textarea")?.focus() }, icon("plus"), "Add"));
  return { rows, add };
}

function listField(label, schema, root, depth) {
  const element = h("fieldset", {}, h("legend", {}, label));
  const inner = schema.items && Object.keys(schema.items).length ? schema.items : {};
  const { rows, add } = items(label, (place) => (schema.prefixItems?.[place] ? fieldOf(`${place + 1}`, schema.prefixItems[place], root, true, depth + 1) : fieldOf(`${place + 1}`, inner, root, true, depth + 1)), element);
  for (let place = 0; place < (schema.minItems ?? 0); place += 1) add();
  return {
    element,
    read: () => rows.map((row) => row.read()),
    write: (value) => { for (const each of value ?? []) add().write(each); },
  };
}

function mapField(label, schema, root, depth) {
  const element = h("fieldset", {}, h("legend", {}, label));
  const inner = typeof schema.additionalProperties === "object" ? schema.additionalProperties : {};
  const { rows, add } = items(label, () => {
    const name = h("input", { type: "text", required: true, "aria-label": "Name" });
    const value = fieldOf("value", inner, root, true, depth + 1);
    return { element: h("div", { class: "pair" }, name, value.element), read: () => [name.value, value.read()], write: ([key, each]) => { name.value = key; value.write(each); } };
  }, element);
  return {
    element,
    read: () => Object.fromEntries(rows.map((row) => row.read())),
    write: (value) => { for (const pair of Object.entries(value ?? {})) add().write(pair); },
  };
}

function oneOf(label, choices, root, missing, depth) {
  const names = choices.map((each, place) => each.title ?? each.format ?? each.type ?? `choice ${place + 1}`);
  let inner = null;
  const slot = h("div", {});
  const chosen = h("select", { "aria-label": `Which kind of ${label}`, onchange: () => make(chosen.value) },
    missing ? h("option", { value: "" }, "not given") : null, names.map((name, place) => h("option", { value: String(place) }, name)));
  const element = h("fieldset", {}, h("legend", {}, label), chosen, slot);
  function make(place) {
    inner = place === "" ? null : single(names[Number(place)], choices[Number(place)], root, false, depth + 1);
    slot.replaceChildren(...(inner ? [inner.element] : []));
  }
  make(missing ? "" : "0");
  return {
    element,
    read: () => (inner ? inner.read() : undefined),
    write(value) {
      const place = choices.findIndex((each) => fits(value, each));
      if (place < 0) return;
      chosen.value = String(place);
      make(String(place));
      inner.write(value);
    },
  };
}

function fits(value, schema) {
  const kind = value === null ? "null" : Array.isArray(value) ? "array" : value instanceof Numeral ? "number" : typeof value;
  return schema.type === kind || (schema.type === "integer" && kind === "number");
}

function anyField(label, required) {
  const input = h("textarea", { rows: 2, class: "mono", required, spellcheck: "false" });
  return {
    ...labelled(`${label} (JSON)`, !required, input),
    read() {
      if (!input.value.trim()) return undefined;
      try {
        return parse(input.value);
      } catch (problem) {
        throw new FieldProblem(`This is not JSON: ${problem.message}`, input);
      }
    },
    write: (value) => { input.value = encode(value); },
  };
}
