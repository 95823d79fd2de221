// One event: what it says, as stored and as today's code reads it, and the conversation that it stands in.

import { get, may } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { actorOf, streamLink } from "../events.js";
import { pageHead } from "../frame.js";
import { graph } from "../graph.js";
import { encode, jsonView } from "../json.js";
import { number } from "../numbers.js";
import { link, pageAddress } from "../router.js";
import { problemLine, waiting } from "../states.js";
import { facts } from "../table.js";
import { timeOf } from "../time.js";

export default async function page({ parts, signal, titled }) {
  const { event, today, problem, reads_version } = await get(["events", parts[1] ?? "0"], {}, { signal });
  titled(`${event.type} ${event.position}`);
  const related = h("section", { class: "block", "aria-label": "Causes and effects" }, h("h2", {}, "Causes and effects"), waiting());
  conversation(related, event, signal);
  return [
    pageHead(event.type, {
      above: [["log"], "Log"],
      lead: ["version ", number(event.version), " of ", streamLink(event.stream, event.version), ", by ", actorOf(event), ", ", timeOf(event.occurred_at)],
      actions: [neighbour(event.position - 1, "left", "Before", "data-previous"), neighbour(event.position + 1, "right", "Next", "data-next")],
    }),
    h("div", { class: "two" },
      h("section", { class: "block", "aria-label": "Payload" }, h("h2", {}, "Payload"), h("p", { class: "faint small" }, `as stored, schema version ${event.schema_version}`), jsonView(event.payload, { label: "Payload as stored" }), todays(event, today, problem, reads_version)),
      h("section", { class: "block", "aria-label": "About it" }, h("h2", {}, "About it"), about(event))),
    related,
  ];
}

function neighbour(position, drawing, words, mark) {
  if (position < 1) return null;
  return h("a", { class: "button", href: pageAddress(["events", String(position)]), [mark]: true }, drawing === "left" ? icon("left") : null, words, drawing === "right" ? icon("right") : null);
}

function todays(event, today, problem, reads) {
  if (problem) return h("div", { class: "todays" }, h("h3", {}, "Today's code cannot read it"), h("pre", { class: "trouble", tabindex: 0 }, problem));
  if (encode(today) === encode(event.payload)) return h("p", { class: "faint small just-so" }, icon("ok"), " Today's code reads it just so.");
  const changed = new Set();
  for (const [name, value] of Object.entries(today ?? {})) {
    if (encode(value) !== encode(event.payload?.[name])) changed.add(name);
  }
  const older = reads > event.schema_version ? h("p", { class: "faint small" }, `written as schema version ${event.schema_version}; today's code writes version ${reads}`) : null;
  return h("div", { class: "todays" }, h("h3", {}, "As today's code reads it"), older, jsonView(today, { label: "As today's code reads it", changed }));
}

function about(event) {
  const { metadata } = event;
  const conversation = metadata.correlation_id ? link(["log"], metadata.correlation_id, { class: "mono", query: { correlation_id: metadata.correlation_id } }) : null;
  const known = new Set(["actor", "correlation_id", "causation_id", "command", "command_id", "traceparent", "tracestate", "data"]);
  const rest = Object.fromEntries(Object.entries(metadata).filter(([name]) => !known.has(name)));
  const data = { ...(metadata.data ?? {}), ...rest };
  return [
    facts([
      ["Position", number(event.position)],
      ["Recorded", timeOf(event.recorded_at)],
      event.occurred_at === event.recorded_at ? null : ["Occurred", timeOf(event.occurred_at)],
      ["Actor", metadata.actor ? link(["audit"], metadata.actor, { query: { actor: metadata.actor } }) : actorOf(event)],
      metadata.command ? ["Command", may("commander", [metadata.command]) ? link(["commands", metadata.command], metadata.command) : metadata.command] : null,
      metadata.command_id ? ["Command id", h("span", { class: "mono" }, metadata.command_id)] : null,
      conversation ? ["Correlation id", conversation] : null,
      metadata.causation_id ? ["Caused by", h("span", { class: "mono" }, metadata.causation_id)] : null,
      metadata.traceparent ? ["Trace", h("span", { class: "mono" }, metadata.traceparent)] : null,
      event.tags.length ? ["Tags", event.tags.map((tag, place) => [place ? ", " : "", link(["log"], tag, { query: { tag } })])] : null,
      ["Event id", h("span", { class: "mono" }, event.event_id)],
    ]),
    Object.keys(data).length ? [h("h3", {}, "Its own metadata"), jsonView(data, { label: "Metadata of the application" })] : null,
  ];
}

async function conversation(box, event, signal) {
  const head = h("h2", {}, "Causes and effects");
  try {
    const { events, complete } = await get(["events", String(event.position), "related"], {}, { signal });
    if (signal.aborted) return;
    fill(box, head, graph(events, event, complete),
      complete ? null : h("p", { class: "note" }, "Only the neighbourhood was searched: there may be more. ", event.metadata.correlation_id ? link(["log"], "Search the whole log", { query: { correlation_id: event.metadata.correlation_id } }) : null));
  } catch (problem) {
    if (!signal.aborted) fill(box, head, problemLine(problem));
  }
}
