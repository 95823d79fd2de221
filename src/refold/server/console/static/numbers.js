// Numbers for people.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** A number with its thousands told apart. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? GROUPED.format(value) : String(value).replace(/^(-?\d+)$/, (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ","));
}

/** So many of something: `1 event`, `2 events`. */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A rate a second. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value > 0 && value < 0.1) return `${number(value * 60)}/min`;
  return `${GROUPED.format(value < 10 ? value : Math.round(value))}/s`;
}

/** A size in bytes. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1048576 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1048576).toFixed(1)} MB`;
}
