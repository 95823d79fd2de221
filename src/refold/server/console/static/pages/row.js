// One row: as it is, as it was, and the events that made it so.

import { get, may, post } from "../api.js";
import { confirmed } from "../dialog.js";
import { fill, h } from "../dom.js";
import { beforeAfter } from "../events.js";
import { pageHead } from "../frame.js";
import { encode } from "../json.js";
import { count, number } from "../numbers.js";
import missing from "./missing.js";
import { note } from "../router.js";
import { valueShown } from "../state-panel.js";
import { empty, problemLine, underWay, waiting } from "../states.js";
import { fromLocal, timeOf, toLocal } from "../time.js";
import { timeLine } from "../time-line.js";
import { toast } from "../toast.js";

const PAGE = 100;
const STEPS = 200;
/** Seconds after which the server is to say how far it is. */
const PATIENCE = 2;

export default async function page({ parts, query, signal, titled }) {
  const name = parts[1];
  const key = query.getAll("key");
  // Without a key it would be the list of all rows that is shown as one.
  if (!key.length) return missing({ titled });
  titled(`${name} ${key.join(" ")}`);
  const path = ["read-models", name, "rows", ...key];
  const shown = h("div", { "aria-live": "polite" });
  let drawing = null;
  const history = h("section", { class: "block", "aria-label": "The events behind it" });
  const moment = h("input", { type: "datetime-local", step: 1, value: toLocal(query.get("as_of")), "aria-label": "The row at a moment", onchange: () => (moment.value ? then({ as_of: fromLocal(moment.value) }) : now()) });
  const nowButton = h("button", { type: "button", onclick: () => { moment.value = ""; now(); } }, "Now");
  const refold = may("operator")
    ? h("button", { type: "button", onclick: () => confirmed("Fold this row anew?", { says: "It is folded from its events by today's code, and takes the place of what is there.", button: "Fold it anew" },
        async () => { await post(["operations", "projections", name, "refold"], { key }); toast("The row is folded anew."); now(); }) }, "Fold anew")
    : null;
  const line = timeLine({ newestFirst: false, of: (event) => event.position, says: (event) => `The row at position ${event.position}`, streams: true, chosen: (event) => at(event.position) });

  async function now() {
    note({ as_of: null, at_position: null });
    line.mark(null);
    await draw({}, "as it is now");
  }

  async function then(when) {
    note({ as_of: null, at_position: null, ...when });
    const words = when.as_of ? ["as it was on ", timeOf(when.as_of)] : ["as it was at position ", number(when.at_position)];
    await draw(when, words, when.at_position ? { at_position: when.at_position - 1 } : null);
  }

  /** The row at an event, with what that event changed. */
  async function at(position) {
    line.mark(position);
    moment.value = "";
    await then({ at_position: position });
  }

  /** Draws the row as it is, or was; with `before`, what has changed since then. */
  async function draw(when, words, before) {
    // Whoever goes on is faster than the answers: only what was asked for last counts.
    const mine = underWay();
    drawing = mine;
    const over = () => signal.aborted || drawing !== mine;
    const slow = setTimeout(() => { if (!over()) fill(shown, waiting("Folding it from the log…")); }, 150);
    try {
      // One after the other: the server goes on from the earlier one to the later.
      const was = before ? await folded(before) : undefined;
      const row = await folded(when);
      if (!over()) fill(shown, h("p", { class: "cause faint" }, words), row ? fieldsOf(row, was) : empty("There was no such row.", "It had no event by then, or was removed."));
    } catch (problem) {
      if (over()) return;
      if (!Number.isInteger(problem.reached)) fill(shown, problemLine(problem));
      else fill(shown, h("p", { class: "note" }, soFar(problem), h("button", { type: "button", class: "small", onclick: () => draw(when, words, before) }, "Go on")));
    } finally {
      clearTimeout(slow);
    }

    /** A row, or null where there is none. One that takes long is asked for again, as long as that brings it further. */
    async function folded(at) {
      for (let reached = -1; ;) {
        try {
          return await get(path, at, { signal, headers: { Prefer: `wait=${PATIENCE}` } });
        } catch (problem) {
          if (problem.code === "not-found") return null;
          if (over() || mine.stop.asked || !Number.isInteger(problem.reached) || problem.reached <= reached) throw problem;
          reached = problem.reached;
          clearTimeout(slow);
          mine.told(soFar(problem));
          if (!mine.line.isConnected) fill(shown, mine.line);
        }
      }
    }
  }

  behind(history, path, line, signal);
  const position = Number(query.get("at_position")) || 0;
  if (position) then({ at_position: position });
  else if (query.get("as_of")) then({ as_of: query.get("as_of") });
  else await now();
  return [
    pageHead(h("span", { class: "mono" }, key.join(" · ")), { above: [["read-models", name], name], actions: [refold].filter(Boolean) }),
    h("div", { class: "split" }, history,
      h("aside", { "aria-label": "The row", class: "state-part" }, h("div", { class: "panel" }, h("h2", {}, "Row"), h("div", { class: "filter-row" }, h("label", { class: "field grow" }, h("span", {}, "At a moment"), moment), nowButton), shown))),
  ];
}

/** Where its key is not the id of a stream, its events may be anywhere in the log. */
function soFar({ reached, wanted }) {
  return `Folded up to position ${number(reached)} of ${number(wanted)}. `;
}

function fieldsOf(row, before) {
  return h("dl", { class: "fields" }, Object.entries(row).map(([name, value]) => {
    const changed = before !== undefined && encode(before?.[name]) !== encode(value);
    return h("div", { class: changed ? "changed" : null }, h("dt", {}, name), h("dd", {}, valueShown(value), changed && before ? h("p", { class: "was" }, beforeAfter({ before: before[name], after: value })) : null));
  }));
}

function behind(box, path, line, signal) {
  const status = h("div", { role: "status" }, waiting("Looking for its events…"));
  fill(box, h("h2", {}, "The events behind it"), line.element, status);
  let found = 0;
  load(0);

  async function load(from) {
    let after = from;
    const until = found + PAGE;
    const searching = underWay();
    try {
      for (let step = 0; ; step += 1) {
        const page = await get([...path, "events"], { after: after || null, limit: PAGE }, { signal });
        if (signal.aborted) return;
        found += page.events.length;
        line.add(page.events);
        after = page.next;
        if (after === null || found >= until || searching.stop.asked || step > STEPS) break;
        searching.told(`Searched up to position ${number(after)}`);
        if (!searching.line.isConnected) fill(status, searching.line);
      }
      if (after === null) fill(status, found ? h("p", { class: "faint" }, `${count(found, "event")}, the first first. Press a position for the row as it was there.`) : empty("No event is behind it."));
      else fill(status, h("p", { class: "note" }, `Searched up to position ${number(after)}. `, h("button", { type: "button", class: "small", onclick: () => load(after) }, "Go on")));
    } catch (problem) {
      if (!signal.aborted) fill(status, problemLine(problem));
    }
  }
}
