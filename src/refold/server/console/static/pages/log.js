// Log: the newest first and live, or searched, page by page. The address says what is seen.

import { may } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { LOG_COLUMNS } from "../events.js";
import { catalogue, chips, filterForm, wanted } from "../filters.js";
import { pageHead } from "../frame.js";
import { follow } from "../live.js";
import { count, number } from "../numbers.js";
import { go, pageAddress } from "../router.js";
import { progressLine, search } from "../search.js";
import { empty, problemLine } from "../states.js";
import { pager, table, tableRow } from "../table.js";

const PAGE = 100;

export default async function page({ query, signal, titled }) {
  titled("Log");
  const known = await catalogue(signal);
  const filters = wanted(query);
  const after = Number(query.get("after")) || 0;
  const list = h("section", { "aria-label": "Events" });
  const apply = (chosen) => go(pageAddress(["log"], chosen));
  const newest = !after && !filters.until;
  const live = newest ? liveButton() : null;
  const progress = progressLine();
  const searching = h("div", {});
  let soFar = 0;
  const body = [
    pageHead("Log", { actions: [live?.element, exportLinks(filters)].filter(Boolean) }),
    filterForm(query, known, apply), chips(query, apply), searching, list,
  ];
  load();
  return body;

  async function load() {
    fill(searching, progress.line);
    try {
      const found = await search(filters, { after, limit: PAGE, signal, stop: progress.stop, told: shownSoFar });
      if (signal.aborted) return;
      fill(searching);
      draw(found);
    } catch (problem) {
      if (!signal.aborted) fill(searching, problemLine(problem));
    }
  }

  /** What a long search has found can be read while it goes on. */
  function shownSoFar(position, events) {
    progress.told(position, events);
    if (events.length > soFar && !signal.aborted) fill(list, table("Events found so far, the newest first", LOG_COLUMNS, events).element);
    soFar = events.length;
  }

  function draw(found) {
    const shown = table("Events, the newest first", LOG_COLUMNS, found.events);
    const nothing = h("div", { hidden: found.events.length > 0 }, nothingThere(found, filters, after));
    const older = found.next !== null ? pageAddress(["log"], { ...filters, after: found.next }) : null;
    const searched = !found.enough ? h("p", { class: "note" }, `Searched back to position ${number(found.next)}. `, h("a", { href: older }, "Go on from there")) : null;
    if (!found.events.length) shown.element.hidden = true;
    fill(list, shown.element, nothing, searched,
      pager({ newer: after ? pageAddress(["log"], filters) : null, newerLabel: "Newest", older: found.enough ? older : null, olderLabel: "Older", note: `The log has ${count(found.head, "event")}.` }));
    if (live) begin(found, shown, nothing);
  }

  function begin(found, shown, nothing) {
    live.element.hidden = false;
    const passes = besides(filters);
    let waitingEvents = [];
    let missed = false;
    live.onGo = () => {
      if (missed) {
        go(pageAddress(["log"], filters), { replace: true });
        return;
      }
      add(waitingEvents, false);
      waitingEvents = [];
    };
    follow({
      after: found.head,
      filters: { type: filters.type, category: filters.category, tag: filters.tag },
      signal,
      state: live.state,
      take: (events, skipped) => {
        const fitting = events.filter(passes);
        if (live.paused()) {
          waitingEvents.push(...fitting);
          missed ||= skipped;
          if (waitingEvents.length > PAGE) {
            waitingEvents = waitingEvents.slice(-PAGE);
            missed = true;
          }
          live.waits(fitting.length);
        } else add(fitting, skipped);
      },
    });

    function add(events, skipped) {
      if (!events.length) return;
      nothing.hidden = true;
      shown.element.hidden = false;
      // What was skipped would leave a gap: then only what has none is shown.
      if (skipped) shown.body.replaceChildren();
      const rows = events.slice(-PAGE).reverse().map((event) => tableRow(LOG_COLUMNS, event, () => "new"));
      shown.body.prepend(...rows);
      while (shown.body.rows.length > 2 * PAGE) shown.body.lastChild.remove();
      live.counted(events.length);
    }
  }
}

/** What the stream itself cannot filter by. */
function besides(filters) {
  const [actor] = filters.actor ?? [];
  const [conversation] = filters.correlation_id ?? [];
  const [text] = filters.text ?? [];
  const since = filters.since ? new Date(filters.since[0]) : null;
  const sought = text?.toLowerCase();
  return (event) => (!actor || event.metadata.actor === actor)
    && (!conversation || event.metadata.correlation_id === conversation)
    && (!since || new Date(event.recorded_at) >= since)
    && (!sought || JSON.stringify(event.payload).toLowerCase().includes(sought));
}

function nothingThere(found, filters, after) {
  if (Object.keys(filters).length) {
    const searched = after ? "Now the log was searched to its beginning." : "The whole log was searched.";
    return empty(after ? "No older event fits." : "No event fits.", found.enough ? searched : "Not yet: the search has not come to the log's beginning.");
  }
  return empty("The log is empty.", "Events appear here by themselves as soon as there are any.");
}

function liveButton() {
  let paused = false;
  let waits = 0;
  let away = true;
  const button = h("button", { type: "button", "data-pause": true, class: "live" });
  const told = h("span", { class: "unseen", role: "status" });
  const self = {
    element: h("span", { hidden: true }, button, told),
    onGo: () => {},
    paused: () => paused,
    state: (now) => { away = now !== "live"; draw(); },
    waits: (more) => { waits += more; draw(); },
    counted: (more) => { told.textContent = `${count(more, "new event")}`; },
  };
  button.addEventListener("click", () => {
    paused = !paused;
    if (!paused) {
      waits = 0;
      self.onGo();
    }
    draw();
  });
  function draw() {
    button.setAttribute("aria-pressed", String(!paused));
    button.classList.toggle("paused", paused);
    button.classList.toggle("away", away && !paused);
    const words = paused ? (waits ? `Paused · ${number(waits)} new` : "Paused") : away ? "Connecting…" : "Live";
    fill(button, paused ? icon("play") : h("span", { class: "pulse", "aria-hidden": "true" }), words);
    button.title = paused ? "Go on (Space)" : "Pause (Space)";
  }
  draw();
  return self;
}

function exportLinks(filters) {
  if (!may("reader")) return null;
  const to = (format) => {
    const search = new URLSearchParams();
    for (const [name, values] of Object.entries(filters)) for (const value of values) search.append(name, value);
    return `../events/export.${format}?${search}`;
  };
  return h("span", { class: "exports" }, h("a", { class: "button", href: to("csv"), download: "events.csv" }, icon("download"), "CSV"), h("a", { class: "button", href: to("jsonl"), download: "events.jsonl" }, icon("download"), "JSON Lines"));
}
