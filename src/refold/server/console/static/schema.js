// JSON schemas, as far as they say what a field is.

/** A schema with its reference followed. */
export function resolved(schema, root) {
  let found = schema ?? {};
  for (let depth = 0; found.$ref && depth < 20; depth += 1) {
    const name = found.$ref.replace("#/$defs/", "");
    found = { ...(root.$defs?.[name] ?? {}), ...Object.fromEntries(Object.entries(found).filter(([key]) => key !== "$ref")) };
  }
  return found;
}

/** What a value may be besides missing, and whether it may be missing. */
export function parted(schema, root) {
  const found = resolved(schema, root);
  const types = Array.isArray(found.type) ? found.type : null;
  const choices = found.anyOf ?? (types ? types.map((type) => ({ ...found, type })) : null);
  if (!choices) {
    if (found.enum?.includes(null)) return { choices: [{ ...found, enum: found.enum.filter((each) => each !== null) }], optional: true, schema: found };
    return { choices: [found], optional: false, schema: found };
  }
  const kept = choices.map((each) => resolved(each, root)).filter((each) => each.type !== "null");
  return { choices: kept.length ? kept : [{}], optional: kept.length < choices.length, schema: found };
}

/** The kind of a field: `text`, `number`, `decimal`, `boolean`, `choice`, `list`, `object`, `map`, or `any`. */
export function kindOf(schema) {
  if (schema.enum || "const" in schema) return "choice";
  if (schema.type === "string") return schema.format === "decimal" ? "decimal" : "text";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "boolean") return "boolean";
  if (schema.type === "array") return "list";
  if (schema.type === "object") return schema.properties ? "object" : "map";
  return "any";
}
