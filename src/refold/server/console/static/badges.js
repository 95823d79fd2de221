// States as a word with a sign beside it: no state is told by its colour alone.

import { h } from "./dom.js";

const TONES = {
  running: "good", inline: "good", rebuilding: "busy", paused: "warn", "no worker": "warn", failing: "warn",
  abandoned: "warn", unknown: "warn", previous: "quiet", stopped: "bad", stalled: "bad", "definition changed": "bad", "other log": "bad",
  refused: "bad", away: "bad",
  done: "good", failed: "bad", cancelled: "quiet",
};

const MEANINGS = {
  running: "a worker moves it",
  inline: "it moves with every append",
  rebuilding: "it is folded anew beside the rows that are read",
  paused: "an operator lets it stand",
  "no worker": "nobody moves it: start a worker",
  failing: "an event failed, and is tried again",
  abandoned: "its rebuild died",
  previous: "what was read before, kept for the way back",
  stopped: "it gave up at an event",
  stalled: "its owner does not move it",
  "definition changed": "its rows were written by another definition",
  "other log": "it is ahead of the log",
  refused: "its store does not let it in",
  away: "its store cannot be reached",
  unknown: "the app has none of this name",
};

/** The badge of a state. */
export function badge(state) {
  return h("span", { class: `badge ${TONES[state] ?? "quiet"}`, title: MEANINGS[state] ?? null }, state);
}

/** Whether a state needs somebody. */
export const isBad = (state) => TONES[state] === "bad";
export const isOdd = (state) => TONES[state] === "warn";
/** What a state means. */
export const meaning = (state) => MEANINGS[state] ?? "";
