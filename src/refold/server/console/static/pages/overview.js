// Overview: what is wrong first, then how it goes.

import { ApiProblem, get, may } from "../api.js";
import { badge, isBad, isOdd, meaning } from "../badges.js";
import { fill, h, icon } from "../dom.js";
import { breakable, LOG_COLUMNS, prose } from "../events.js";
import { pageHead } from "../frame.js";
import { builtFor } from "../jobs.js";
import { everySo } from "../live.js";
import { count, number, rate } from "../numbers.js";
import { redrawing } from "../redraw.js";
import { link } from "../router.js";
import { spark } from "../spark.js";
import { empty, notAllowed, problemLine } from "../states.js";
import { table } from "../table.js";
import { lasting, timeOf } from "../time.js";

const SLOTS = 300;

export default async function page({ signal, titled }) {
  titled("Overview");
  if (!may("reader")) return narrow();
  let samples = [];
  let last = 0;
  const wrong = h("section", { class: "wrongs", "aria-label": "What is wrong", "aria-live": "polite" });
  const tiles = h("section", { class: "tiles", "aria-label": "The log" });
  const lags = h("section", { class: "block", "aria-label": "Projections" });
  const recent = h("section", { class: "block", "aria-label": "The newest events" });
  const drawLags = redrawing(lags, ({ status, samples: seen }) => projections(status, seen));
  const drawRecent = redrawing(recent, newestEvents);
  let said = "";
  let newest = -1;

  async function look() {
    const now = await get(["operations", "overview"], { after: last }, { signal });
    if (now.samples.length && now.samples[0].number <= last) samples = []; // the server began anew
    samples = [...samples, ...now.samples].slice(-SLOTS);
    last = samples.at(-1)?.number ?? 0;
    const found = wrongs(now.status);
    // A list that has not changed is not read out again.
    const words = JSON.stringify(found.map((each) => [each.tone, each.title, each.more]));
    if (words !== said) {
      said = words;
      fill(wrong, drawn(found, now.status));
    }
    fill(tiles, measures(now.status, samples, now.every));
    drawLags({ status: now.status, samples });
    if (now.status.head !== newest) {
      newest = now.status.head;
      drawRecent((await get(["events"], { backward: true, limit: 8 }, { signal })).events);
    }
  }

  await look();
  everySo(2000, async () => {
    try {
      await look();
    } catch (problem) {
      if (problem instanceof ApiProblem) {
        said = "";
        fill(wrong, h("div", { class: "wrong bad" }, problemLine(problem)));
      }
    }
  }, signal);
  return [pageHead("Overview"), wrong, tiles, lags, recent];
}

function narrow() {
  return [pageHead("Overview"), notAllowed("You see the pages that your roles are for: look at the log of your categories, or execute your commands."),
    h("p", {}, link(["log"], "Log"), " · ", link(["commands"], "Commands"))];
}

/** What is built beside a read model is looked after on the read model's page. */
const pathOf = (each) => ["projections", builtFor(each.name) || each.name];

function wrongs(status) {
  const found = [];
  for (const each of status.projections) {
    const path = pathOf(each);
    if (isBad(each.state)) found.push({ tone: "bad", path, title: `${each.name}: ${each.state}`, more: each.error || meaning(each.state) });
    else if (isOdd(each.state)) found.push({ tone: "warn", path, title: `${each.name}: ${each.state}`, more: each.error || meaning(each.state) });
    if (each.parked) found.push({ tone: "bad", path, title: `${each.name}: ${count(each.parked, "row is parked", "rows are parked")}`, more: "their events wait for you" });
  }
  return found.sort((one, other) => (one.tone === "bad" ? 0 : 1) - (other.tone === "bad" ? 0 : 1));
}

function drawn(found, status) {
  if (!found.length) {
    const what = status.projections.length ? "Every projection is where it should be." : "There are no projections yet.";
    return h("p", { class: "all-well" }, icon("ok"), "All is well. ", h("span", { class: "faint" }, what));
  }
  return h("ul", {}, found.map((each) => h("li", { class: `wrong ${each.tone}` }, icon("warn"),
    h("div", {}, link(each.path, each.title, { class: "strong" }), h("p", { class: "wrong-more" }, prose(firstLine(each.more)))))));
}

/** A curve that has just begun is not a dot at the edge of ten minutes. */
const slotsOf = (samples) => Math.max(30, samples.length);

const firstLine = (text) => (text.split("\n")[0].length > 300 ? `${text.slice(0, 300)}…` : text.split("\n")[0]);

function measures(status, samples, every) {
  const rates = differences(samples, (sample) => sample.head, every);
  const conflicts = differences(samples, (sample) => sample.conflicts, every);
  const heads = samples.map((sample) => sample.head - samples[0].head);
  const now = rates.slice(-5);
  const mean = now.length ? now.reduce((sum, each) => sum + each, 0) / now.length : status.rate;
  const clashes = samples.length ? samples.at(-1).conflicts - samples[0].conflicts : 0;
  const span = lasting(Math.max(every, (samples.length - 1) * every));
  return [
    tile("Log head", number(status.head), status.recorded_at ? ["last event ", timeOf(status.recorded_at, { relative: true })] : "the log is empty",
      spark(heads, { slots: slotsOf(samples), says: `The head of the log over the last ${span}` })),
    tile("Append rate", rate(mean), `${rate(status.rate)} over the last minute`,
      spark(rates, { slots: slotsOf(samples), says: `Events a second over the last ${span}, at most ${rate(Math.max(0, ...rates))}` })),
    tile("Conflicts", number(clashes), `in this process, in the last ${span}`,
      spark(conflicts, { slots: slotsOf(samples), tone: clashes ? "warn" : "", says: `Conflicts a second over the last ${span}` })),
    tile("Furthest behind", furthest(status), "of all that are read",
      spark(samples.map((sample) => Math.max(0, ...Object.entries(sample.positions).filter(([name]) => !name.endsWith("__previous") && !builtFor(name)).map(([, position]) => sample.head - position))),
        { slots: slotsOf(samples), says: `The longest lag in events over the last ${span}` })),
  ];
}

function furthest(status) {
  const most = Math.max(0, ...status.projections.filter((each) => !builtFor(each.name)).map((each) => each.lag));
  return most ? count(most, "event") : "none";
}

function differences(samples, value, every) {
  return samples.slice(1).map((sample, place) => {
    const before = samples[place];
    const seconds = Math.max(0.1, (new Date(sample.at) - new Date(before.at)) / 1000) || every;
    return Math.max(0, value(sample) - value(before)) / seconds;
  });
}

function tile(name, value, note, curve) {
  return h("div", { class: "tile" }, h("h2", {}, name), h("p", { class: "tile-value" }, value), h("p", { class: "tile-note faint" }, note), curve);
}

function projections(status, samples) {
  const shown = status.projections.filter((each) => each.state !== "previous");
  if (!shown.length) return [h("h2", {}, "Projections"), empty("No projections.", "Read models of the app appear here once a worker has begun them.")];
  const columns = [
    { label: "Projection", cell: (each) => link(pathOf(each), breakable(each.name), { class: "strong", "data-row": true }) },
    { label: "State", cell: (each) => badge(each.state) },
    { label: "Behind", kind: "num", cell: (each) => (each.lag ? count(each.lag, "event") : h("span", { class: "faint" }, "0")) },
    { label: "Since", kind: "num wide", cell: (each) => (each.lag_seconds ? lasting(each.lag_seconds) : h("span", { class: "faint" }, "–")) },
    { label: "Lag lately", kind: "spark-cell", cell: (each) => curve(each.name, samples) },
  ];
  return [h("h2", {}, "Projections"), table("Projections and how far behind the log they are", columns, shown).element];
}

function curve(name, samples) {
  const values = samples.filter((sample) => name in sample.positions).map((sample) => Math.max(0, sample.head - sample.positions[name]));
  return spark(values, { slots: slotsOf(samples), height: 22, says: `Lag of ${name}: now ${values.at(-1) ?? 0}, at most ${Math.max(0, ...values)} events` });
}

function newestEvents(events) {
  const head = h("div", { class: "block-head" }, h("h2", {}, "Newest events"), link(["log"], "The whole log"));
  if (!events.length) return [head, empty("The log is empty.", "Execute a ", link(["commands"], "command"), ", and its events appear here.")];
  return [head, table("The newest events", LOG_COLUMNS, events).element];
}
