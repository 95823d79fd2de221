// Times: shown in the local zone, with UTC to the microsecond for whoever points at them.

import { h } from "./dom.js";

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const UNITS = [[60, "second"], [60, "minute"], [24, "hour"], [30, "day"], [12, "month"], [Infinity, "year"]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

const utc = (text) => `${text.replace("T", " ").replace(/(Z|\+00:00)$/, "")} UTC`;

/** A moment as day and time of day; `relative`: how long ago it was. */
export function timeOf(text, { relative = false, dayOnly = false } = {}) {
  if (!text) return h("span", { class: "faint" }, "–");
  const moment = new Date(text);
  const full = `${DAY.format(moment)}, ${CLOCK.format(moment)}`;
  const shown = relative ? ago(moment) : dayOnly ? DAY.format(moment) : full;
  const title = relative ? `${full} · ${utc(text)}` : utc(text);
  return h("time", { datetime: text, title, class: relative ? "ago" : "moment" }, shown);
}

/** How long ago a moment was, in words. */
export function ago(moment) {
  let amount = (moment.getTime() - Date.now()) / 1000;
  if (Math.abs(amount) < 5) return "just now";
  for (const [size, unit] of UNITS) {
    if (Math.abs(amount) < size) return RELATIVE.format(Math.round(amount), unit);
    amount /= size;
  }
  return "";
}

/** A length of time in words, from seconds. */
export function lasting(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h`;
  if (seconds < 86400 * 60) return Math.round(seconds / 86400) === 1 ? "1 day" : `${Math.round(seconds / 86400)} days`;
  if (seconds < 86400 * 730) return `${Math.round(seconds / 86400 / 30.4)} months`;
  return `${Math.round(seconds / 86400 / 365.25)} years`;
}

/** What a field for a local moment holds, as the API wants it. */
export function fromLocal(value) {
  return value ? new Date(value).toISOString() : "";
}

/** A moment of the API as a field for a local moment wants it. */
export function toLocal(text) {
  if (!text) return "";
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return "";
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// What is told relative to now stays true while one looks.
setInterval(() => {
  for (const each of document.querySelectorAll("time.ago")) {
    const now = ago(new Date(each.dateTime));
    if (each.textContent !== now) each.textContent = now;
  }
}, 15000);
