// The state of an aggregate at any version: a slider, a moment, what the last event changed, and why a field is as it is.

import { get } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { beforeAfter, eventLink } from "./events.js";
import { encode, jsonView, Numeral } from "./json.js";
import { number } from "./numbers.js";
import { problemLine, waiting } from "./states.js";
import { fromLocal, timeOf } from "./time.js";
import { showWhy } from "./why.js";

const PAUSE = 70;

/** The panel. `moved(version)` is told where one is; `go(version)` of what it gives goes there. */
export function statePanel({ category, key, newest, version: first, signal, moved }) {
  let version = Math.min(Math.max(0, first), newest);
  let asked = 0;
  let timer = 0;
  const shown = h("div", { class: "state-shown", "aria-live": "polite" });
  const slider = h("input", { type: "range", min: 0, max: newest, value: version, "aria-label": "Version of the state", oninput: () => go(Number(slider.value), PAUSE) });
  slider.value = version;
  const back = h("button", { type: "button", "aria-label": "One version back", onclick: () => go(version - 1) }, icon("left"));
  const on = h("button", { type: "button", "aria-label": "One version on", onclick: () => go(version + 1) }, icon("right"));
  const where = h("output", { class: "version-shown" });
  const moment = h("input", { type: "datetime-local", step: 1, "aria-label": "Moment", onchange: () => goTo(moment.value) });
  const occurred = h("select", { "aria-label": "Which time is meant", onchange: () => goTo(moment.value) }, h("option", { value: "recorded" }, "as recorded"), h("option", { value: "occurred" }, "as occurred"));
  const element = h("div", { class: "panel" },
    h("h2", {}, "State"),
    h("div", { class: "slider" }, back, slider, on, where),
    h("details", { class: "small" }, h("summary", {}, "At a moment"), h("div", { class: "filter-row" }, moment, occurred)),
    shown);

  function go(to, pause = 0) {
    version = Math.min(Math.max(0, to), newest);
    slider.value = version;
    where.textContent = version === newest ? `${number(version)}, now` : `${number(version)} of ${number(newest)}`;
    back.disabled = version === 0;
    on.disabled = version === newest;
    moved(version);
    asked += 1;
    clearTimeout(timer);
    timer = setTimeout(fetchIt, pause);
  }

  async function goTo(value) {
    if (!value) return;
    asked += 1;
    const mine = asked;
    const time = occurred.value;
    try {
      const found = await get(["aggregates", category, key], { as_of: fromLocal(value), time: time === "occurred" ? "occurred" : null }, { signal });
      if (mine !== asked || signal.aborted) return;
      if (time === "recorded") go(found.version);
      else draw(found, null);
    } catch (problem) {
      if (mine === asked && !signal.aborted) fill(shown, problemLine(problem));
    }
  }

  async function fetchIt() {
    const mine = asked;
    const slow = setTimeout(() => { if (mine === asked && !signal.aborted) fill(shown, waiting("Folding it from its events…")); }, 300);
    try {
      const [state, steps] = await Promise.all([
        get(["aggregates", category, key], { at_version: version }, { signal }),
        version ? get(["aggregates", category, key, "changes"], { after: version - 1, limit: 1 }, { signal }) : { steps: [] },
      ]);
      // Whoever drags is faster than the answers: only the last counts.
      if (mine === asked && !signal.aborted) draw(state, steps.steps[0] ?? null);
    } catch (problem) {
      if (mine === asked && !signal.aborted) fill(shown, problemLine(problem));
    } finally {
      clearTimeout(slow);
    }
  }

  function draw(found, step) {
    const changes = step?.changes ?? [];
    const cause = step
      ? h("p", { class: "cause" }, eventLink(step.event), " ", h("span", { class: "faint" }, changes.length ? `changed ${changes.length === 1 ? "one field" : `${changes.length} fields`}, ` : "changed nothing, "), timeOf(step.event.occurred_at))
      : h("p", { class: "cause faint" }, found.version === 0 ? "Before the first event: every field has its default." : "As things had happened by then, whenever they were recorded.");
    fill(shown, cause, fields(found.state, changes));
  }

  function fields(state, changes) {
    return h("dl", { class: "fields" }, Object.entries(state).map(([name, value]) => {
      const mine = changes.filter((change) => change.field === name || change.field.startsWith(`${name}.`));
      return h("div", { class: mine.length ? "changed" : null },
        h("dt", {}, name, h("button", { type: "button", class: "why quiet small", onclick: () => showWhy({ category, key, field: name }), "aria-label": `Why is ${name} so?`, title: "Which events set it?" }, "why?")),
        h("dd", {}, valueShown(value), told(mine).length ? h("p", { class: "was" }, told(mine).slice(0, 5).map((change) => h("span", { class: "block-line" }, change.field !== name ? h("span", { class: "faint" }, `${change.field.slice(name.length + 1)}: `) : null, beforeAfter(change)))) : null));
    }));
  }

  go(version);
  return { element, go };
}

/** The changes that the value itself does not show: what something was before, or a plain value in a large one. */
function told(changes) {
  return changes.filter((change) => "before" in change || typeof change.after !== "object");
}

/** A value of a state or a row. */
export function valueShown(value) {
  if (value === null || value === undefined) return h("span", { class: "faint" }, "none");
  if (value === "") return h("span", { class: "faint" }, "empty text");
  if (value instanceof Numeral) return value.text;
  if (typeof value === "object") {
    const text = encode(value);
    return text.length <= 60 ? h("span", { class: "mono" }, text) : jsonView(value, { label: "Value" });
  }
  return h("span", { class: "value" }, String(value));
}
