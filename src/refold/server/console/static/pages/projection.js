// One projection: how it stands, what is wrong with it, and what can be done about it.

import { get, may, post } from "../api.js";
import { badge, meaning } from "../badges.js";
import { confirmed, dialog } from "../dialog.js";
import { fill, h } from "../dom.js";
import { catalogue } from "../filters.js";
import { eventLink, prose, streamLink } from "../events.js";
import { pageHead } from "../frame.js";
import { builderOf, jobList, reached, standing } from "../jobs.js";
import { inLine, parse, plain } from "../json.js";
import { everySo } from "../live.js";
import { count, number } from "../numbers.js";
import { link } from "../router.js";
import { redrawing } from "../redraw.js";
import { meter } from "../spark.js";
import { empty, problemLine, waiting } from "../states.js";
import { facts, table } from "../table.js";
import { lasting, timeOf } from "../time.js";
import { toast } from "../toast.js";

export default async function page({ parts, signal, titled }) {
  const name = parts[1];
  titled(name);
  const { read_models: models } = await get(["read-models"], {}, { signal });
  const model = models.find((each) => each.name === name);
  const byHand = !model && (await catalogue(signal)).projections.includes(name);
  let lookSoon = () => {};
  const changed = () => lookSoon();
  const head = h("div", {});
  const state = h("section", { class: "block", "aria-label": "State", "aria-live": "polite" });
  const parked = h("section", { class: "block", "aria-label": "Parked rows" });
  const jobs = h("section", { class: "block", "aria-label": "Jobs", "aria-live": "polite" });
  const drawHead = redrawing(head, (each) => pageHead(name, {
    above: [["projections"], "Projections"],
    lead: [badge(each.state), " ", h("span", { class: "faint" }, meaning(each.state))],
    actions: [model ? link(["read-models", name], "Browse its rows", { class: "button" }) : null, ...deeds(name, each, model, byHand, changed)].filter(Boolean),
  }));
  const beside = h("section", { class: "block", "aria-label": "Rebuild", "aria-live": "polite" });
  const drawBuilt = builtBeside(beside, name, changed);
  const drawState = redrawing(state, stateOf);
  const drawParked = redrawing(parked, (list) => parkedOf(list, changed));
  const drawJobs = redrawing(jobs, (list) => (list.length ? [h("h2", {}, "Jobs"), jobList(list)] : []));

  async function look() {
    const status = await get(["operations", "status"], {}, { signal });
    const mine = status.projections.find((each) => each.name === name);
    if (!mine) {
      drawHead({ state: "unknown" });
      fill(state, empty("There is no projection of this name.", link(["projections"], "All projections")));
      return false;
    }
    const built = status.projections.find((each) => each.name === `${name}__building`);
    const [waitingKeys, running] = may("operator")
      ? await Promise.all([get(["operations", "parked"], { read_model: name }, { signal }), get(["operations", "jobs"], {}, { signal })])
      : [null, { jobs: [] }];
    const jobsNow = standing(running.jobs, status.projections);
    // It is told of once, with what can be done: where it is in this process, as far as it is really.
    const builder = built ? jobsNow[running.jobs.indexOf(builderOf(running.jobs, name))] : undefined;
    drawBuilt(built, builder, status.head);
    // Which second it is must not draw it anew.
    drawHead({ state: mine.state, busy: built?.state === "paused" || built?.owner ? built.state : "", previous: status.projections.some((each) => each.name === `${name}__previous`) });
    drawState({ ...mine, lag_seconds: Math.round(mine.lag_seconds), head: status.head });
    drawJobs(jobsNow.filter((job) => job.target === name && job !== builder));
    if (waitingKeys) drawParked(waitingKeys.parked);
    else if (mine.parked) fill(parked, h("p", { class: "note" }, `${count(mine.parked, "row is parked", "rows are parked")}; an operator can look at them.`));
    return true;
  }

  if (await look()) lookSoon = everySo(1500, () => look().catch(() => {}), signal);
  return [head, state, beside, parked, jobs];
}

function stateOf(each) {
  return [
    each.error ? [h("h2", {}, each.state === "running" ? "Its last trouble" : "What is wrong"), h("pre", { class: "trouble", tabindex: 0, role: "region", "aria-label": "Error" }, each.error)] : null,
    h("div", { class: "reach" }, meter(each.position, each.head, `Position ${each.position} of ${each.head}`)),
    facts([
      ["Position", [number(each.position), h("span", { class: "faint" }, ` of ${number(each.head)}`)]],
      ["Behind", each.lag ? [count(each.lag, "event"), each.lag_seconds ? `, ${lasting(each.lag_seconds)}` : ""] : "nothing"],
      ["Owner", each.owner ? h("span", { class: "mono" }, each.owner) : h("span", { class: "faint" }, "nobody")],
      ["Moved", timeOf(each.moved_at, { relative: true })],
      ["Parked", each.parked ? h("strong", { class: "bad-text" }, count(each.parked, "row")) : "none"],
    ]),
  ];
}

function deeds(name, each, model, byHand, changed) {
  if (!model && !byHand) return [];
  const reason = may("operator") ? null : "An operator's role is needed";
  const deed = (word, label, { busy = null, ...question }) => h("button", { type: "button", disabled: (reason ?? busy) !== null, title: reason ?? busy, onclick: () => ask(word, label, question) }, label);
  async function ask(word, label, { title, says, fields = [], body = (why) => ({ reason: why }), reasoned = true, danger = false, done }) {
    const yes = await confirmed(title, { says, button: label, danger, reason: reasoned ? "asked" : "", fields },
      (why) => post(["operations", "projections", name, word], body(why)));
    if (yes) {
      toast(done);
      changed();
    }
  }
  const busy = each.busy === "paused" ? "A rebuild is paused: resume it, or end it" : each.busy ? "A rebuild is under way: wait for its end, or end it" : null;
  const anew = h("input", { type: "checkbox" });
  const still = each.state === "paused" || each.state === "stopped";
  const pausing = model?.inline ? null : still
    ? deed("resume", "Resume", { title: `Resume ${name}?`, says: "It goes on from where it stands.", done: `${name} goes on.` })
    : deed("pause", "Pause", { title: `Pause ${name}?`, says: model ? "It stands still until it is resumed; its rows grow old meanwhile, and reads that wait for it fail." : "It stands still until it is resumed, after the page at hand; whoever waits for it is told so.", done: `${name} is paused.` });
  // What it writes is not Refold's: there is nothing that could be folded anew.
  if (byHand) return [pausing];
  return [
    pausing,
    deed("rebuild", "Rebuild", {
      title: `Rebuild ${name}?`, reasoned: false, busy,
      says: "It is folded anew from the whole log, beside the rows that are read; at the end the new rows take their place. The old ones are kept for the way back.",
      fields: [h("label", { class: "check" }, anew, " From the start, even if a rebuild that was killed could go on")],
      body: () => ({ from_start: anew.checked }), done: `The rebuild of ${name} has begun.`,
    }),
    deed("compare", "Compare", {
      title: `Compare ${name}?`, reasoned: false, busy, body: () => ({}),
      says: "The rows are folded anew beside those that are read, compared with them, and dropped: it says which rows a rebuild would change, and why. Nothing is switched.",
      done: `The comparison of ${name} has begun; its job shows what comes of it.`,
    }),
    each.previous
      ? deed("rollback", "Roll back", { title: `Roll ${name} back?`, reasoned: false, danger: true, body: () => ({}), says: "The rows from before the last rebuild are read again. They catch up with the log by themselves.", done: `${name} is read as it was before its last rebuild.` })
      : null,
  ];
}

const ORDERS = {
  pause: ["Pause", "Pause", "What is folded is kept; it stands still until it is resumed, also when it is begun again."],
  resume: ["Resume", "Resume", "It goes on from where it stands."],
  cancel: ["End it", "End", "Nothing of it is left; the rows that are read stay as they are."],
};

/** A rebuild that is under way, or was left, in whatever process: draws it into a box. Its buttons are made anew only when
 *  others are needed, so that they keep the focus while it goes on. */
function builtBeside(box, name, changed) {
  const how = h("div", {});
  const far = h("div", { class: "job-part" });
  const orders = h("div", { class: "job-part" });
  const whole = h("div", { class: "job" }, how, h("div", { class: "job-line" }, far, orders));
  const order = (word) => {
    const [label, verb, says] = ORDERS[word];
    return h("button", {
      type: "button", class: "small",
      onclick: async () => {
        const done = await confirmed(`${verb} the rebuild of ${name}?`, { says, button: label, danger: word === "cancel", reason: "asked" }, (why) => post(["operations", "projections", name, "rebuild", word], { reason: why }));
        if (done) changed();
      },
    }, label);
  };
  const drawBox = redrawing(box, (title) => (title ? [h("h2", {}, title), whole] : []));
  const drawHow = redrawing(how, ({ state, job, position, head, error }) => [
    h("p", {}, badge(state), " ", h("span", { class: "faint" }, job ? `begun by ${job.actor}, ` : `its rows are written up to position ${number(position)} of ${number(head)}`), job ? timeOf(job.begun_at, { relative: true }) : null),
    error ? h("p", { class: "faint small" }, prose(error)) : null,
  ]);
  const drawFar = redrawing(far, ({ job, words, position, head }) => {
    if (job) return [meter(job.done, job.total, `Rebuild of ${name}`), h("span", { class: "faint" }, reached(job))];
    return words ? h("span", {}, words) : meter(position, head, `Rebuild of ${name}`);
  });
  const drawOrders = redrawing(orders, (words) => words.map(order));
  return (built, job, head) => {
    drawBox(!built ? null : job?.kind === "compare" ? "A comparison beside it" : "A rebuild beside it");
    if (!built) return;
    const { state, position } = built;
    // While it goes on, another process says in words how far it is: further than what it has written.
    const [error, words] = state === "rebuilding" ? ["", built.error] : [built.error, ""];
    // What is shown of the job is the same at each look, or has gone on: which second it is must not draw it anew.
    drawHow({ state, error, job: job ? { actor: job.actor, begun_at: job.begun_at } : null, ...(job ? {} : { position, head }) });
    drawFar({ job: job ? { state: job.state, done: job.done, total: job.total, rate: job.rate, seconds_left: job.seconds_left } : null, words, position, head });
    if (may("operator")) drawOrders(state === "paused" ? ["resume", "cancel"] : state === "rebuilding" ? ["pause", "cancel"] : ["cancel"]);
  };
}

function parkedOf(list, changed) {
  if (!list.length) return [h("h2", {}, "Parked rows"), h("p", { class: "faint" }, "None: no event of it waits for a person.")];
  const columns = [
    { label: "Key", kind: "at-type", cell: (each) => h("button", { type: "button", class: "as-link mono", "data-row": true, onclick: () => waitingEvents(each) }, keyShown(each.key)) },
    { label: "Failed at", kind: "num at-position", cell: (each) => link(["events", String(each.position)], number(each.position)) },
    { label: "Event", kind: "at-stream", cell: (each) => [each.type, " ", h("span", { class: "faint block-line" }, streamLink(each.stream))] },
    { label: "Error", kind: "grow at-payload", cell: (each) => h("details", {}, h("summary", { class: "mono" }, lastLine(each.error)), h("pre", { class: "trouble", tabindex: 0 }, each.error)) },
    { label: "Since", kind: "nowrap at-when", cell: (each) => [timeOf(each.since, { relative: true }), h("span", { class: "faint block-line" }, count(each.attempts, "attempt"))] },
    { label: "Do", unseen: true, kind: "nowrap at-more", cell: (each) => (each.request ? h("span", { class: "badge busy" }, `${each.request} is asked`) : deedsOf(each, changed)) },
  ];
  return [h("h2", {}, count(list.length, "parked row")), table("Parked rows", columns, list).element];
}

/** A row's key, which is kept as a list, as its values. */
function keyShown(text) {
  try {
    return parse(text).map(plain).join(" · ");
  } catch {
    return text;
  }
}

const lastLine = (text) => {
  const lines = text.trim().split("\n");
  const line = lines.at(-1);
  return line.length > 140 ? `${line.slice(0, 140)}…` : line;
};

const DEALS = {
  retry: ["Retry", "The event that failed is tried once more, through today's code.", "asked"],
  release: ["Release", "All that waits is folded, through today's code.", "asked"],
  skip: ["Skip", "The event that failed is left out for good, and the row goes on behind it. The row is then not what the log says.", "wanted"],
};

function deedsOf(each, changed) {
  return h("span", { class: "deeds" }, Object.entries(DEALS).map(([word, [label, says, reason]]) => h("button", {
    type: "button", class: "small", "aria-label": `${label} ${keyShown(each.key)}`,
    onclick: async () => {
      const done = await confirmed(`${label} ${keyShown(each.key)}?`, { says, button: label, reason, danger: word === "skip" }, (why) => post(["operations", "parked", each.read_model, each.key, word], { reason: why }));
      if (done) {
        toast(`${label} of ${keyShown(each.key)} is done.`);
        changed();
      }
    },
  }, label)));
}

function waitingEvents(each) {
  const shown = h("div", {}, waiting());
  const box = dialog(`What waits for ${keyShown(each.key)}`, () => shown, { wide: true });
  box.addEventListener("click", (event) => { if (event.target.closest("a")) box.close(); });
  get(["operations", "parked", each.read_model, each.key]).then(
    ({ events, more }) => fill(shown, h("p", { class: "faint" }, "The first is the one that failed."), table("Events that wait", [
      { label: "Position", kind: "num", cell: (event) => number(event.position) },
      { label: "Event", cell: (event) => eventLink(event) },
      { label: "Payload", kind: "grow", cell: (event) => h("span", { class: "payload mono" }, inLine(event.payload)) },
    ], events).element, more ? h("p", { class: "note" }, "And more.") : null),
    (problem) => fill(shown, problemLine(problem)),
  );
}
