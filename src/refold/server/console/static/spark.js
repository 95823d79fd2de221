// Sparklines: a curve as high as a line of text, with its numbers for those who cannot see it.

import { h, s } from "./dom.js";

const WIDTH = 160;
const HEIGHT = 36;

/** A curve of numbers, the oldest first. `says` describes it. */
export function spark(values, { says, tone = "", slots = values.length, width = WIDTH, height = HEIGHT } = {}) {
  const top = Math.max(...values, 0) || 1;
  const step = width / Math.max(1, slots - 1);
  const from = width - (values.length - 1) * step;
  const points = values.map((value, place) => [from + place * step, height - 2 - (value / top) * (height - 4)]);
  const line = points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const area = points.length ? `${line}L${width} ${height}L${from.toFixed(1)} ${height}Z` : "";
  return s("svg", { class: `spark ${tone}`, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": says },
    s("path", { class: "spark-ground", d: `M0 ${height - 1}H${width}`, "vector-effect": "non-scaling-stroke" }),
    s("path", { class: "spark-area", d: area }),
    s("path", { class: "spark-line", d: line, "vector-effect": "non-scaling-stroke" }));
}

/** A bar that is filled in part: `done` of `total`. */
export function meter(done, total, says) {
  const share = total ? Math.min(1, done / total) : 0;
  return h("progress", { value: share, max: 1, "aria-label": says }, `${Math.round(share * 100)} %`);
}
