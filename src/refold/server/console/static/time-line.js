// Events on a time line: a mark for each, and between them how long nothing happened.

import { h } from "./dom.js";
import { actorOf, eventLink, streamLink } from "./events.js";
import { inLine } from "./json.js";
import { number } from "./numbers.js";
import { lasting, timeOf } from "./time.js";

const LONG = 3600;

/** A time line. `of(event)` is the number that a mark bears, `chosen(event)` is called when it is pressed, `says(event)` describes that;
 *  `streams`: events of several streams, so each names its own. Events are added in its order. */
export function timeLine({ newestFirst, of, says, chosen, streams = false }) {
  const items = new Map();
  const list = h("ol", { class: "time-line" });
  let before = null;

  function add(events) {
    for (const event of events) {
      const pause = before ? Math.abs(new Date(before.occurred_at) - new Date(event.occurred_at)) / 1000 : 0;
      if (pause > LONG) list.append(h("li", { class: "gap", "aria-hidden": "true" }, newestFirst ? `${lasting(pause)} before that` : `${lasting(pause)} later`));
      const item = itemOf(event);
      before = event;
      items.set(of(event), item);
      list.append(item);
    }
  }

  function itemOf(event) {
    const late = Math.abs(new Date(event.recorded_at) - new Date(event.occurred_at)) > 1000;
    return h("li", { class: "moment-of" },
      chosen
        ? h("button", { type: "button", class: "version", onclick: () => chosen(event), "aria-label": says(event), title: says(event) }, number(of(event)))
        : h("span", { class: "version" }, number(of(event))),
      h("div", { class: "moment-what" },
        h("p", { class: "moment-head" }, eventLink(event), streams && event.stream !== before?.stream ? [" ", h("span", { class: "faint" }, "in "), streamLink(event.stream, event.version)] : null, " ", h("span", { class: "faint" }, "by "), actorOf(event)),
        h("p", { class: "payload mono" }, inLine(event.payload))),
      h("p", { class: "moment-when" }, timeOf(event.occurred_at), late ? h("span", { class: "faint block-line" }, "recorded ", timeOf(event.recorded_at, { relative: true })) : null));
  }

  /** Marks the event that one is at; what came later steps back. */
  function mark(number_) {
    for (const [each, item] of items) {
      item.classList.toggle("here", each === number_);
      item.classList.toggle("later", number_ !== null && each > number_);
    }
  }

  return { element: list, add, mark };
}
