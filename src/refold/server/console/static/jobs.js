// Jobs: work that goes on while one looks, with how far it is and how to stop it.

import { remove } from "./api.js";
import { badge } from "./badges.js";
import { h } from "./dom.js";
import { number } from "./numbers.js";
import { rebuildDiff } from "./rebuild-diff.js";
import { meter } from "./spark.js";
import { lasting, timeOf } from "./time.js";
import { toast } from "./toast.js";

const BUILDS = new Set(["rebuild", "compare"]);

/** The read model beside which a table is built; "" for any other table. */
export const builtFor = (table) => (table.endsWith("__building") ? table.slice(0, -"__building".length) : "");

/** The job of these that builds beside a read model. */
export const builderOf = (jobs, name) => jobs.find((job) => job.target === name && job.state === "running" && BUILDS.has(job.kind));

/** The jobs as they are: one whose rebuild an operator has paused does not run, though its process waits for it. */
export function standing(jobs, projections) {
  const paused = projections.filter((each) => each.state === "paused").map((each) => builderOf(jobs, builtFor(each.name)));
  return jobs.map((job) => (paused.includes(job) ? { ...job, state: "paused" } : job));
}

/** The list of jobs, the newest first. */
export function jobList(jobs) {
  return h("ul", { class: "jobs" }, jobs.map((job) => h("li", { class: `job ${job.state}` },
    h("p", {}, h("strong", {}, `${job.kind} of ${job.target}`), " ", badge(job.state), " ", h("span", { class: "faint" }, "by "), job.actor, ", ", timeOf(job.begun_at, { relative: true })),
    job.state === "running" || job.state === "paused" ? running(job) : null,
    job.problem ? h("p", { class: job.state === "failed" ? "problem-text" : "faint" }, job.problem) : null,
    job.kind === "compare" && job.result ? rebuildDiff(job.result) : null,
    job.state === "done" && job.ended_at ? h("p", { class: "faint small" }, `took ${lasting((new Date(job.ended_at) - new Date(job.begun_at)) / 1000)}`, job.result?.position !== undefined ? `, up to position ${number(job.result.position)}` : "") : null)));
}

/** How far a job is: how much, how fast, and how long still. */
export function reached(job) {
  const words = job.total ? `${number(job.done)} of ${number(job.total)}` : "beginning";
  if (job.state === "paused") return words;
  const speed = job.rate ? `, ${number(Math.round(job.rate))}/s` : "";
  const left = job.seconds_left !== null ? `, about ${lasting(Math.max(1, job.seconds_left))} left` : "";
  return `${words}${speed}${left}`;
}

function running(job) {
  return h("div", { class: "job-line" }, meter(job.done, job.total, `${job.kind} of ${job.target}`), h("span", { class: "faint" }, reached(job)),
    h("button", { type: "button", class: "small", onclick: () => cancel(job) }, "Cancel"));
}

async function cancel(job) {
  try {
    await remove(["operations", "jobs", job.id]);
    toast(`${job.kind} of ${job.target} is being cancelled.`);
  } catch (problem) {
    toast(problem.message, "bad");
  }
}
