// Why a field is as it is: the events that set it, and by whom.

import { get } from "./api.js";
import { dialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { actorOf, beforeAfter, eventLink } from "./events.js";
import { number } from "./numbers.js";
import { empty, problemLine, waiting } from "./states.js";
import { table } from "./table.js";
import { timeOf } from "./time.js";

const PAGE = 50;

/** Shows them in a dialog, the first first, page by page. */
export function showWhy({ category, key, field }) {
  const shown = h("div", { class: "scroll-y", tabindex: 0, role: "region", "aria-label": "Events that set it" }, waiting());
  const box = dialog(`Why is ${field} so?`, () => [h("p", { class: "faint" }, `The events that changed ${field} of ${category}-${key}, the first first.`), shown], { wide: true });
  const columns = [
    { label: "Version", kind: "num", cell: ({ event }) => number(event.version) },
    { label: "Happened", kind: "nowrap", cell: ({ event }) => timeOf(event.occurred_at) },
    { label: "Event", cell: ({ event }) => eventLink(event) },
    { label: "By", cell: ({ event }) => actorOf(event) },
    { label: "Change", kind: "grow", cell: ({ changes }) => h("ul", { class: "changes" }, changes.filter((each) => each.field === field || each.field.startsWith(`${field}.`)).map((each) => h("li", {}, each.field === field ? null : h("span", { class: "faint" }, `${each.field}: `), beforeAfter(each)))) },
  ];
  box.addEventListener("click", (event) => { if (event.target.closest("a")) box.close(); });
  load(0, []);

  async function load(after, before) {
    try {
      const all = [...before];
      let next = after;
      // The server looks for a short time at once: of a long stream, step by step.
      do {
        const page = await get(["aggregates", category, key, "changes"], { field, after: next || null, limit: PAGE + before.length - all.length });
        all.push(...page.steps);
        next = page.next;
        if (next !== null && !box.isConnected) return;
        if (next !== null && !before.length && !all.length) fill(shown, waiting(`Looked through the first ${number(next)} events…`));
      } while (next !== null && all.length < before.length + PAGE);
      if (!all.length) {
        fill(shown, empty("No event changed it.", "It has the default of its class."));
        return;
      }
      const more = next === null ? null : h("button", { type: "button", onclick: () => { more.disabled = true; load(next, all); } }, "Show more");
      fill(shown, table(`Events that changed ${field}`, columns, all).element, more);
    } catch (problem) {
      fill(shown, problemLine(problem));
    }
  }
}
