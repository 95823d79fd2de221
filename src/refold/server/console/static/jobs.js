// Jobs: work that goes on while one looks, with how far it is and how to stop it.

import { remove } from "./api.js";
import { badge } from "./badges.js";
import { h } from "./dom.js";
import { number } from "./numbers.js";
import { rebuildDiff } from "./rebuild-diff.js";
import { meter } from "./spark.js";
import { lasting, timeOf } from "./time.js";
import { toast } from "./toast.js";

/** The list of jobs, the newest first. */
export function jobList(jobs) {
  return h("ul", { class: "jobs" }, jobs.map((job) => h("li", { class: `job ${job.state}` },
    h("p", {}, h("strong", {}, `${job.kind} of ${job.target}`), " ", badge(job.state), " ", h("span", { class: "faint" }, "by "), job.actor, ", ", timeOf(job.begun_at, { relative: true })),
    job.state === "running" ? running(job) : null,
    job.problem ? h("p", { class: "problem-text" }, job.problem) : null,
    job.kind === "compare" && job.result ? rebuildDiff(job.result) : null,
    job.state === "done" && job.ended_at ? h("p", { class: "faint small" }, `took ${lasting((new Date(job.ended_at) - new Date(job.begun_at)) / 1000)}`, job.result?.position !== undefined ? `, up to position ${number(job.result.position)}` : "") : null)));
}

function running(job) {
  const words = job.total ? `${number(job.done)} of ${number(job.total)}` : "beginning";
  const speed = job.rate ? `, ${number(Math.round(job.rate))}/s` : "";
  const left = job.seconds_left !== null ? `, about ${lasting(Math.max(1, job.seconds_left))} left` : "";
  return h("div", { class: "job-line" }, meter(job.done, job.total, `${job.kind} of ${job.target}`), h("span", { class: "faint" }, words, speed, left),
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
