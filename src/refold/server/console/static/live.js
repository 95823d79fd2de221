// The log live. Events come in pieces of what arrived within a moment; the line is closed while nobody looks.

import { address } from "./api.js";
import { parse } from "./json.js";

const PACE = 150;
const MOST = 400;
const AGAIN = 3000;

/** Follows the log after a position until `signal` is aborted. `take(events, skipped)` gets events in order, `skipped` says that there were more
 *  before them than anybody could read; `state("live" | "away")` tells how the line is. */
export function follow({ after, filters, take, state, signal }) {
  let source = null;
  let last = after;
  let buffer = [];
  let skipped = false;
  let timer = 0;
  let again = 0;

  function flush() {
    timer = 0;
    const events = buffer;
    const more = skipped;
    buffer = [];
    skipped = false;
    if (events.length && !signal.aborted) take(events, more);
  }

  function open() {
    if (signal.aborted || document.hidden || source) return;
    source = new EventSource(address(["events", "live"], { after: last, ...filters }));
    source.onopen = () => state("live");
    source.onmessage = (message) => {
      last = Number(message.lastEventId) || last;
      if (!message.data) return;
      buffer.push(parse(message.data));
      if (buffer.length > MOST) {
        buffer = buffer.slice(-MOST / 2);
        skipped = true;
      }
      timer ||= setTimeout(flush, PACE);
    };
    source.onerror = () => {
      state("away");
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        again = setTimeout(open, AGAIN);
      }
    };
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(again);
  }

  const onVisible = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", onVisible);
  signal.addEventListener("abort", () => {
    document.removeEventListener("visibilitychange", onVisible);
    clearTimeout(timer);
    close();
  });
  open();
}

/** Does something every so often while anybody looks, one at a time, until `signal` is aborted. What it gives does it soon, for who has changed
 *  something: after what is under way, which may not know of that yet, and would otherwise be what is told last. */
export function everySo(milliseconds, act, signal) {
  let timer = 0;
  let acting = false;
  let again = false;
  async function turn() {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (acting) {
      again = true;
      return;
    }
    acting = true;
    do {
      again = false;
      if (!document.hidden) await act();
    } while (again && !signal.aborted);
    acting = false;
    if (!signal.aborted) timer = setTimeout(turn, milliseconds);
  }
  timer = setTimeout(turn, milliseconds);
  signal.addEventListener("abort", () => clearTimeout(timer));
  return turn;
}
