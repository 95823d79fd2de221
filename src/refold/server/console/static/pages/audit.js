// Audit: who changed what when, by an actor, in a stream, in a period; and what operators did. To look at, and to take away.

import { get, may } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { actorOf, changesShown, eventLink, PAYLOAD, streamLink } from "../events.js";
import { catalogue, filterForm, wanted } from "../filters.js";
import { pageHead } from "../frame.js";
import { inLine } from "../json.js";
import { number } from "../numbers.js";
import { go, link, pageAddress } from "../router.js";
import { progressLine, search } from "../search.js";
import { empty, notAllowed, problemLine } from "../states.js";
import { pager, table } from "../table.js";
import { timeOf } from "../time.js";
import { parted } from "./stream.js";

const PAGE = 100;
const STEPS = 20;

export default async function page({ query, signal, titled }) {
  titled("Audit");
  const operations = query.get("show") === "operations";
  const tabs = h("nav", { class: "tabs", "aria-label": "Kinds of changes" },
    link(["audit"], "Events", { "aria-current": operations ? null : "page" }),
    link(["audit"], "Operations", { query: { show: "operations" }, "aria-current": operations ? "page" : null }));
  const body = operations ? await deeds(query, signal) : await changes(query, signal);
  return [pageHead("Audit", { lead: "Who changed what, and when.", actions: body.actions }), tabs, body.content];
}

async function changes(query, signal) {
  const known = await catalogue(signal);
  const filters = wanted(query);
  const stream = query.get("stream") ?? "";
  const after = Number(query.get("after")) || 0;
  const apply = (chosen) => go(pageAddress(["audit"], chosen));
  const field = h("label", { class: "field" }, h("span", {}, "Stream"), h("input", { name: "stream", value: stream, autocomplete: "off", spellcheck: "false", placeholder: "any" }));
  const form = filterForm(query, known, apply, { main: ["actor", "type", "since", "until"], rare: [], extra: field });
  const list = h("section", { "aria-label": "Changes" });
  const progress = progressLine();
  const at = (more) => pageAddress(["audit"], { ...filters, stream, ...more });
  fill(list, progress.line);
  const found = stream ? inStream(stream, filters, after, signal) : inLog(filters, after, signal, progress);
  found.then(
    ({ rows, next, enough, columns, forward }) => {
      if (signal.aborted) return;
      fill(list, rows.length ? table(forward ? "Changes, the first first" : "Changes, the newest first", columns, rows).element : empty("Nobody changed anything like that.", enough ? null : "Not all was searched yet."),
        enough ? null : h("p", { class: "note" }, `Searched to ${number(next)}. `, h("a", { href: at({ after: next }) }, "Go on from there")),
        pager({ newer: after ? at({}) : null, newerLabel: forward ? "First" : "Newest", older: next && enough ? at({ after: next }) : null, olderLabel: forward ? "Later" : "Older" }));
    },
    (problem) => { if (!signal.aborted) fill(list, problemLine(problem)); },
  );
  return { content: [form, list], actions: may("reader") ? exports("../events/export", { ...filters, stream: stream || [] }, "events") : [] };
}

const WHEN = { label: "When", kind: "nowrap at-when", cell: (event) => [timeOf(event.recorded_at), event.occurred_at === event.recorded_at ? null : h("span", { class: "faint block-line" }, "happened ", timeOf(event.occurred_at, { dayOnly: true }))] };
const WHO = { label: "Who", kind: "nowrap at-by", cell: (event) => (event.metadata.actor ? link(["audit"], event.metadata.actor, { query: { actor: event.metadata.actor } }) : actorOf(event)) };
const WHAT = { label: "What", kind: "nowrap at-type", cell: (event) => eventLink(event) };
const WHERE = { label: "Where", kind: "nowrap at-stream", cell: (event) => streamLink(event.stream, event.version) };

async function inLog(filters, after, signal, progress) {
  const found = await search(filters, { after, limit: PAGE, signal, ...progress });
  return { rows: found.events, next: found.next, enough: found.enough, columns: [WHEN, WHO, WHAT, WHERE, PAYLOAD], forward: false };
}

/** The changes of one stream, each with what it was before: what the log's filters cannot do is done here. */
async function inStream(stream, filters, from, signal) {
  const { category, key } = parted(stream);
  const { aggregates } = await get(["aggregates"], {}, { signal });
  const kind = aggregates.some((each) => each.category === category);
  const fits = fitting(filters);
  const rows = [];
  let after = from;
  for (let step = 0; step < STEPS; step += 1) {
    const page = kind
      ? await get(["aggregates", category, key, "changes"], { after: after || null, limit: 500 }, { signal })
      : await get(["streams", stream], { after: after || null, limit: 500 }, { signal });
    const steps = page.steps ?? page.events.map((event) => ({ event, changes: null }));
    for (const each of steps) {
      if (!fits(each.event)) continue;
      rows.push(each);
      if (rows.length === PAGE) return { rows, next: each.event.version, enough: true, columns: streamColumns(kind), forward: true };
    }
    after = page.next;
    if (after === null) return { rows, next: null, enough: true, columns: streamColumns(kind), forward: true };
  }
  return { rows, next: after, enough: false, columns: streamColumns(kind), forward: true };
}

function streamColumns(kind) {
  const of = (column) => ({ ...column, cell: ({ event }) => column.cell(event) });
  return [{ label: "Version", kind: "num faint at-position", cell: ({ event }) => number(event.version) }, of(WHEN), of(WHO), of(WHAT),
    kind ? { label: "Changed", kind: "grow at-payload", cell: ({ changes }) => changesShown(changes) } : of(PAYLOAD)];
}

function fitting(filters) {
  const since = filters.since ? new Date(filters.since[0]) : null;
  const until = filters.until ? new Date(filters.until[0]) : null;
  return (event) => (!filters.actor || filters.actor.includes(event.metadata.actor))
    && (!filters.type || filters.type.includes(event.type))
    && (!filters.category || filters.category.includes(parted(event.stream).category))
    && (!since || new Date(event.recorded_at) >= since)
    && (!until || new Date(event.recorded_at) < until);
}

function exports(path, filters, name) {
  return ["csv", "jsonl"].map((format) => {
    const query = new URLSearchParams();
    for (const [key, values] of Object.entries(filters)) for (const value of [values].flat()) query.append(key, value);
    return h("a", { class: "button", href: `${path}.${format}?${query}`, download: `${name}.${format}` }, icon("download"), format === "csv" ? "CSV" : "JSON Lines");
  });
}

const DEEDS = [
  { label: "When", kind: "nowrap at-when", cell: (each) => timeOf(each.at) },
  { label: "Who", kind: "nowrap at-by", cell: (each) => h("strong", {}, each.actor) },
  { label: "Did", kind: "at-type", cell: (each) => (each.operation === "refused" ? h("span", { class: "badge warn" }, "refused") : each.operation) },
  { label: "On", kind: "at-stream", cell: (each) => h("span", { class: "mono" }, each.target) },
  { label: "Reason", kind: "grow at-payload", cell: (each) => each.reason || h("span", { class: "faint" }, "–") },
  { label: "More", kind: "wide at-more", cell: (each) => (Object.keys(each.details).length ? h("span", { class: "mono faint" }, inLine(each.details, 120)) : null) },
];

async function deeds(query, signal) {
  if (!may("operator")) return { content: notAllowed("The log of operations is for operators."), actions: [] };
  const before = Number(query.get("before")) || 0;
  const { operations, next } = await get(["operations", "log"], { before: before || null, limit: PAGE }, { signal });
  return {
    content: [
      operations.length ? table("What was done and refused, the newest first", DEEDS, operations).element : empty("Nothing was done yet.", "What operators do, and what somebody was refused, is kept here."),
      pager({ newer: before ? pageAddress(["audit"], { show: "operations" }) : null, newerLabel: "Newest", older: next ? pageAddress(["audit"], { show: "operations", before: next }) : null, olderLabel: "Older" }),
    ],
    actions: exports("../operations/export", {}, "operations"),
  };
}
