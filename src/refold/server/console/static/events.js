// Events in lists: the same columns wherever they stand.

import { h } from "./dom.js";
import { inLine, plain } from "./json.js";
import { number } from "./numbers.js";
import { link } from "./router.js";
import { timeOf } from "./time.js";

/** A link to a stream, at a version where one is given. */
export function streamLink(stream, version = null) {
  return link(["streams", stream], stream, { class: "mono", query: version ? { version } : {} });
}

/** A link to an event; it is what j and k step through. */
export function eventLink(event, content = event.type) {
  return link(["events", String(event.position)], content, { class: "strong", "data-row": true });
}

/** A name that may break behind its underscores, and nowhere else. */
export function breakable(name) {
  return name.split("_").flatMap((part, place) => (place ? ["_", h("wbr", {}), part] : [part]));
}

/** Who did it. */
export function actorOf(event) {
  return event.metadata.actor ? h("span", { class: "actor" }, event.metadata.actor) : h("span", { class: "faint" }, "nobody named");
}

export const POSITION = { label: "Position", kind: "num faint at-position", cell: (event) => number(event.position) };
export const RECORDED = { label: "Recorded", kind: "nowrap at-when", cell: (event) => timeOf(event.recorded_at) };
export const TYPE = { label: "Event", kind: "nowrap at-type", cell: (event) => eventLink(event) };
export const STREAM = { label: "Stream", kind: "nowrap at-stream", cell: (event) => streamLink(event.stream, event.version) };
export const ACTOR = { label: "By", kind: "nowrap at-by", cell: actorOf };
export const PAYLOAD = { label: "Payload", kind: "grow at-payload", cell: (event) => h("span", { class: "payload mono" }, inLine(event.payload)) };

/** The columns of the log. */
export const LOG_COLUMNS = [POSITION, RECORDED, TYPE, STREAM, ACTOR, PAYLOAD];

/** Text of a class's own documentation, with `code` as code. */
export function prose(text) {
  return text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));
}

/** What an event changed, as `field: before → after`. */
export function changesShown(changes) {
  if (!changes.length) return h("span", { class: "faint" }, "nothing in the state");
  return h("ul", { class: "changes" }, changes.map((change) => h("li", {}, h("span", { class: "field-name" }, change.field || "state"), " ", beforeAfter(change))));
}

/** What a field was, and what it is. */
export function beforeAfter(change) {
  const gone = !("after" in change);
  return [
    "before" in change ? h("del", {}, shortened(change.before)) : null,
    "before" in change && !gone ? " → " : null,
    gone ? h("span", { class: "faint" }, " removed") : h("ins", {}, shortened(change.after)),
  ];
}

function shortened(value) {
  if (value === null) return "none";
  const text = value === "" ? "“”" : plain(value);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
