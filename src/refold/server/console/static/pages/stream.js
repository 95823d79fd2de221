// One stream: its events on a time line, and beside it the state at any of them.

import { get, may, remove } from "../api.js";
import { confirmed } from "../dialog.js";
import { fill, h } from "../dom.js";
import { pageHead } from "../frame.js";
import { count, number, size } from "../numbers.js";
import { link, note, pageAddress } from "../router.js";
import { statePanel } from "../state-panel.js";
import { empty, problemLine } from "../states.js";
import { pager } from "../table.js";
import { timeLine } from "../time-line.js";
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
  const line = timeLine({ newestFirst: true, of: (event) => event.version, says: (event) => `State at version ${event.version}`, chosen: kind ? (event) => panel.go(event.version) : null });
  line.add(events.events);
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
    pageHead(h("span", { class: "mono" }, stream), { above: [["streams"], "Streams"], lead, actions: actions(kind, stream, key) }),
    h("div", { class: panel ? "split" : "" },
      h("section", { "aria-label": "Events", class: "time-line-part" },
        events.events.length ? line.element : empty("No events here.", "Go back to the newest."),
        pager({ newer: after ? pageAddress(parts) : null, newerLabel: "Newest", older, olderLabel: "Older", note: count(events.version, "event") })),
      panel ? h("aside", { "aria-label": "State", class: "state-part" }, panel.element, snapshot) : snapshot),
  ];
}

function actions(kind, stream, key) {
  return [
    kind && may("commander", [kind.category]) ? link(["commands"], "Execute a command", { class: "button", query: { category: kind.category, key } }) : null,
    link(["audit"], "Audit", { class: "button", query: { stream } }),
  ].filter(Boolean);
}

/** The category of a stream, and the key in it. */
export function parted(stream) {
  const at = stream.indexOf("-");
  return at < 0 ? { category: stream, key: "" } : { category: stream.slice(0, at), key: stream.slice(at + 1) };
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
