// One stream: its events on a time line, and beside it the state at any of them.

import { get, may, remove } from "../api.js";
import { confirmed } from "../dialog.js";
import { fill, h } from "../dom.js";
import { actorOf, eventLink } from "../events.js";
import { pageHead } from "../frame.js";
import { inLine } from "../json.js";
import { count, number, size } from "../numbers.js";
import { note, pageAddress } from "../router.js";
import { statePanel } from "../state-panel.js";
import { empty, problemLine } from "../states.js";
import { pager } from "../table.js";
import { lasting, timeOf } from "../time.js";
import { toast } from "../toast.js";

const PAGE = 50;

export default async function page({ parts, query, signal, titled }) {
  const stream = parts[1];
  titled(stream);
  const { category, key } = parted(stream);
  const after = Number(query.get("after")) || 0;
  const [events, kinds] = await Promise.all([
    get(["streams", stream], { backward: true, after: after || null, limit: PAGE }, { signal }),
    get(["aggregates"], {}, { signal }),
  ]);
  const kind = kinds.aggregates.find((each) => each.category === category);
  const line = timeLine(events, (version) => panel?.go(version));
  const panel = kind
    ? statePanel({ category, key, newest: events.version, version: query.has("version") ? Number(query.get("version")) : events.version, signal,
        moved: (version) => {
          note({ version: version === events.version ? null : version });
          line.mark(version);
        } })
    : null;
  const older = events.next ? pageAddress(parts, { after: events.next }) : null;
  const snapshot = may("operator") ? h("div", { class: "snapshot" }) : null;
  if (snapshot) showSnapshot(snapshot, stream, signal);
  const lead = [kind ? `${kind.name} ` : "Events of no aggregate of this app ", h("span", { class: "faint" }, `· version ${number(events.version)}`)];
  return [
    pageHead(h("span", { class: "mono" }, stream), { above: [["streams"], "Streams"], lead }),
    h("div", { class: panel ? "split" : "" },
      h("section", { "aria-label": "Events", class: "time-line-part" },
        events.events.length ? line.element : empty("No events here.", "Go back to the newest."),
        pager({ newer: after ? pageAddress(parts) : null, newerLabel: "Newest", older, olderLabel: "Older", note: count(events.version, "event") })),
      panel ? h("aside", { "aria-label": "State", class: "state-part" }, panel.element, snapshot) : snapshot),
  ];
}

/** The category of a stream, and the key in it. */
export function parted(stream) {
  const at = stream.indexOf("-");
  return at < 0 ? { category: stream, key: "" } : { category: stream.slice(0, at), key: stream.slice(at + 1) };
}

function timeLine({ events }, chosen) {
  const items = new Map();
  const list = h("ol", { class: "time-line", reversed: true });
  events.forEach((event, place) => {
    const before = events[place - 1];
    const pause = before ? (new Date(before.occurred_at) - new Date(event.occurred_at)) / 1000 : 0;
    if (pause > 3600) list.append(h("li", { class: "gap", "aria-hidden": "true" }, `${lasting(pause)} later`));
    const late = Math.abs(new Date(event.recorded_at) - new Date(event.occurred_at)) > 1000;
    const item = h("li", { class: "moment-of" },
      h("button", { type: "button", class: "version", onclick: () => chosen(event.version), "aria-label": `State at version ${event.version}`, title: "Show the state here" }, number(event.version)),
      h("div", { class: "moment-what" },
        h("p", { class: "moment-head" }, eventLink(event), " ", h("span", { class: "faint" }, "by "), actorOf(event)),
        h("p", { class: "payload mono" }, inLine(event.payload))),
      h("p", { class: "moment-when" }, timeOf(event.occurred_at), late ? h("span", { class: "faint block-line" }, "recorded ", timeOf(event.recorded_at, { relative: true })) : null));
    items.set(event.version, item);
    list.append(item);
  });
  return {
    element: list,
    mark(version) {
      for (const [each, item] of items) {
        item.classList.toggle("here", each === version);
        item.classList.toggle("later", each > version);
      }
    },
  };
}

async function showSnapshot(box, stream, signal) {
  try {
    const { snapshot } = await get(["operations", "snapshots", stream], {}, { signal });
    if (!snapshot) {
      fill(box, h("p", { class: "faint small" }, "No snapshot: a load folds every event."));
      return;
    }
    const drop = () => confirmed("Forget the snapshot?", { says: "The next load folds all events and may take a new one. Nothing is lost.", button: "Forget it" },
      async () => {
        await remove(["operations", "snapshots", stream]);
        toast("The snapshot is forgotten.");
        showSnapshot(box, stream, signal);
      });
    fill(box, h("p", { class: "small" }, `Snapshot at version ${number(snapshot.version)}, ${size(snapshot.bytes)} `,
      h("span", { class: "faint mono", title: "Fingerprint of the definition that it was folded by" }, snapshot.fingerprint.slice(0, 8)), " ",
      h("button", { type: "button", class: "small", onclick: drop }, "Forget")));
  } catch (problem) {
    if (!signal.aborted) fill(box, problemLine(problem));
  }
}
