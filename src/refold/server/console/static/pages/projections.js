// Projections: all of them, those that need somebody first.

import { get, may, post } from "../api.js";
import { badge, isBad, isOdd } from "../badges.js";
import { confirmed } from "../dialog.js";
import { h } from "../dom.js";
import { breakable } from "../events.js";
import { pageHead } from "../frame.js";
import { builtFor, jobList, standing } from "../jobs.js";
import { everySo } from "../live.js";
import { count, number, rate } from "../numbers.js";
import { link } from "../router.js";
import { redrawing } from "../redraw.js";
import { empty } from "../states.js";
import { table } from "../table.js";
import { lasting, timeOf } from "../time.js";
import { toast } from "../toast.js";

const COLUMNS = [
  { label: "Projection", cell: (each) => [link(["projections", builtFor(each.name) || each.name], breakable(each.name), { class: "strong", "data-row": true }), each.error ? h("p", { class: isBad(each.state) || isOdd(each.state) ? "error-line" : "error-line calm", title: each.error }, each.error.split("\n")[0]) : null] },
  { label: "State", cell: (each) => badge(each.state) },
  { label: "Position", kind: "num", cell: (each) => number(each.position) },
  { label: "Behind", kind: "num", cell: (each) => (each.lag ? [count(each.lag, "event"), each.lag_seconds ? h("span", { class: "faint block-line" }, lasting(each.lag_seconds)) : null] : h("span", { class: "faint" }, "0")) },
  { label: "Parked", kind: "num", cell: (each) => (each.parked ? h("strong", { class: "bad-text" }, number(each.parked)) : h("span", { class: "faint" }, "0")) },
  { label: "Owner", kind: "wide", cell: (each) => (each.owner ? h("span", { class: "mono" }, each.owner) : h("span", { class: "faint" }, "–")) },
  { label: "Moved", kind: "nowrap wide", cell: (each) => timeOf(each.moved_at, { relative: true }) },
];

export default async function page({ signal, titled }) {
  titled("Projections");
  const list = h("section", { "aria-label": "Projections" });
  const jobs = h("section", { class: "block", "aria-label": "Jobs", "aria-live": "polite" });
  const lead = h("p", { class: "lead" });
  const drawList = redrawing(list, (projections) => (projections.length
    ? table("Projections, those that need somebody first", COLUMNS, projections, { rowClass: (each) => (each.state === "previous" ? "calm" : "") }).element
    : empty("No projections.", "Read models of the app appear here once a worker has begun them.")));
  const drawJobs = redrawing(jobs, (found) => (found.length ? [h("h2", {}, "Jobs of this server process"), jobList(found)] : []));

  async function look() {
    const status = await get(["operations", "status"], {}, { signal });
    lead.textContent = `The log's head is ${number(status.head)}, ${rate(status.rate)} over the last minute.`;
    drawList([...status.projections].sort((one, other) => weight(one) - weight(other)));
    if (may("operator")) drawJobs(standing((await get(["operations", "jobs"], {}, { signal })).jobs, status.projections));
  }

  await look();
  everySo(2000, () => look().catch(() => {}), signal);
  const verify = may("operator") ? h("button", { type: "button", onclick: () => verifying() }, "Verify…") : null;
  return [pageHead("Projections", { lead, actions: [verify].filter(Boolean) }), list, jobs];
}

const weight = (each) => (isBad(each.state) || each.parked ? 0 : isOdd(each.state) ? 1 : each.state === "previous" ? 3 : 2);

function verifying() {
  const sample = h("input", { type: "number", min: 0.1, max: 100, step: "any", value: "100" });
  confirmed("Verify the store?", {
    says: "Checks that log, snapshots and read models agree, while the application works. It changes nothing.",
    button: "Verify",
    fields: [h("label", { class: "field" }, h("span", {}, "How much of it, in per cent"), sample)],
  }, async () => {
    const share = Number(sample.value);
    await post(["operations", "verify"], share < 100 ? { sample: share } : {});
    toast("Verifying has begun; the list of jobs says how far it is.");
  });
}
