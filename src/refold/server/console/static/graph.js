// What caused what: a lane for each stream, time from left to right, an arrow from each cause to its effect.

import { h, s } from "./dom.js";
import { eventLink, streamLink, actorOf } from "./events.js";
import { number } from "./numbers.js";
import { pageAddress } from "./router.js";
import { table } from "./table.js";
import { timeOf } from "./time.js";

const LANE = 74;
const STEP = 158;
const BOX = 134;
const HIGH = 34;
const EDGE = 14;
const MOST = 60;

/** The graph of a conversation around one of its events, and the same as a list. */
export function graph(events, here, complete = true) {
  const at = events.findIndex((each) => each.position === here.position);
  const from = Math.max(0, Math.min(at - MOST / 2, events.length - MOST));
  const near = events.slice(from, from + MOST);
  const nodes = nodesOf(near);
  if (nodes.length === 1) return h("p", { class: "faint" }, complete ? "Nothing caused it that the log knows of, and it caused nothing." : "No cause of it was found nearby in the log, and nothing that it caused.");
  const hidden = events.length - near.length;
  const view = h("div", { class: "scroll graph", tabindex: 0, role: "region", "aria-label": "Graph of causes and effects" }, drawn(nodes, here));
  const mine = nodes.findIndex((node) => node.event?.position === here.position);
  requestAnimationFrame(() => { view.scrollLeft = EDGE + mine * STEP + BOX / 2 - view.clientWidth / 2; });
  return [
    view,
    hidden ? h("p", { class: "note" }, `${number(hidden)} more of the same conversation are not drawn.`) : null,
    h("details", {}, h("summary", {}, "The same as a list"), list(near, nodes)),
  ];
}

function list(events, nodes) {
  const causes = new Map(nodes.filter((node) => node.event).map((node) => [node.event.position, node.cause]));
  const named = (cause) => (cause === undefined ? h("span", { class: "faint" }, "–") : nodes[cause].event ? `${nodes[cause].event.type} ${nodes[cause].event.position}` : `command ${nodes[cause].label}`);
  return table("Events of the conversation", [
    { label: "Position", kind: "num", cell: (event) => number(event.position) },
    { label: "Event", cell: (event) => eventLink(event) },
    { label: "Stream", cell: (event) => streamLink(event.stream, event.version) },
    { label: "By", cell: actorOf },
    { label: "Recorded", kind: "nowrap", cell: (event) => timeOf(event.recorded_at) },
    { label: "Caused by", cell: (event) => named(causes.get(event.position)) },
  ], events).element;
}

/** Nodes in order: commands stand right before their first event, in their lane. `cause` is the place of another node. */
function nodesOf(events) {
  const nodes = [];
  const events_ = new Map();
  const commands = new Map();
  for (const event of events) {
    const { causation_id: causation, command_id: id, command } = event.metadata;
    let cause = events_.get(causation);
    if (id !== undefined && command) {
      // A command is drawn once, and is caused by what its events name where that is not the command itself.
      if (!commands.has(id)) {
        nodes.push({ label: command, lane: event.stream, cause: causation === id ? undefined : cause });
        commands.set(id, nodes.length - 1);
      }
      cause = commands.get(id);
    } else if (cause === undefined && commands.has(causation)) cause = commands.get(causation);
    nodes.push({ event, label: event.type, lane: event.stream, cause });
    events_.set(event.event_id, nodes.length - 1);
  }
  return nodes;
}

function drawn(nodes, here) {
  const lanes = [...new Set(nodes.map((node) => node.lane))];
  const width = 2 * EDGE + nodes.length * STEP - (STEP - BOX);
  const height = lanes.length * LANE + 8;
  const middle = (node) => lanes.indexOf(node.lane) * LANE + LANE / 2 + 10;
  const left = (place) => EDGE + place * STEP;
  const begins = (lane) => left(nodes.findIndex((node) => node.lane === lane));
  const arrows = nodes.flatMap((node, place) => (node.cause === undefined ? [] : [arrow(left(node.cause) + BOX, middle(nodes[node.cause]), left(place), middle(node))]));
  return s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${nodes.length} commands and events in ${lanes.length} streams` },
    s("defs", {}, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, s("path", { d: "M0 .5L7 4L0 7.5", class: "tip" }))),
    lanes.map((lane, place) => [
      place === lanes.length - 1 ? null : s("line", { x1: 0, x2: width, y1: place * LANE + LANE + 4, y2: place * LANE + LANE + 4, class: "lane" }),
      s("text", { x: begins(lane), y: place * LANE + 22, class: "lane-name" }, shortened(lane, 40), s("title", {}, lane)),
    ]),
    arrows,
    nodes.map((node, place) => box(node, left(place), middle(node), here)));
}

function arrow(x1, y1, x2, y2) {
  const bend = Math.max(16, (x2 - x1) / 2);
  return s("path", { class: "arrow-line", d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 2} ${y2}`, "marker-end": "url(#tip)" });
}

function box(node, x, y, here) {
  const drawing = [
    s("rect", { x, y: y - HIGH / 2, width: BOX, height: HIGH, rx: node.event ? 6 : HIGH / 2 }),
    s("text", { x: x + BOX / 2, y: y + 4, "text-anchor": "middle" }, shortened(node.label, 19)),
    s("title", {}, node.event ? `${node.label}, position ${node.event.position}` : `command ${node.label}`),
  ];
  if (!node.event) return s("g", { class: "node command" }, drawing);
  const mine = node.event.position === here.position;
  return s("a", { href: pageAddress(["events", String(node.event.position)]), class: `node ${mine ? "here" : ""}`, "aria-current": mine ? "true" : null, "aria-label": `${node.label}, position ${node.event.position}, ${node.lane}` }, drawing);
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
