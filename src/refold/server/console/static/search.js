// Searching a log that is too long for one answer: step by step, saying how far one is, until it is enough.

import { get } from "./api.js";
import { number } from "./numbers.js";
import { underWay } from "./states.js";

const STEPS = 30;

/** Searches until `limit` events are found, the log ends, or it has taken a while. `told(position, events)` says
 *  how far it is, and what was found by then.
 *  Gives `{ events, next, head, enough }`; `enough` is false when it stopped for want of patience. */
export async function search(filters, { after = 0, limit = 100, backward = true, signal, told = () => {}, stop = { asked: false } }) {
  const events = [];
  let next = after;
  let head = 0;
  for (let step = 0; step < STEPS; step += 1) {
    const page = await get(["events"], { ...filters, backward: backward || null, after: next || null, limit: limit - events.length }, { signal });
    events.push(...page.events);
    head = page.head;
    next = page.next;
    if (next === null || events.length >= limit) return { events, next, head, enough: true };
    told(next, events);
    if (stop.asked) break;
  }
  return { events, next, head, enough: false };
}

/** A line that says how far a search is, with a button to stop it. */
export function progressLine() {
  const { line, stop, told } = underWay("Searching…");
  line.setAttribute("role", "status");
  return { line, stop, told: (position, { length: found }) => told(`Searched back to ${number(position)}, ${number(found)} found so far`) };
}
