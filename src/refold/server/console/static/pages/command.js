// One command: a form from its class, what it would do, and doing it, once however often one presses.

import { get, may, post } from "../api.js";
import { fill, h, icon } from "../dom.js";
import { prose } from "../events.js";
import { pageHead } from "../frame.js";
import { FieldProblem, formOf } from "../form.js";
import { encode, inLine, jsonView, parse } from "../json.js";
import { number } from "../numbers.js";
import { link } from "../router.js";
import { empty } from "../states.js";
import { toast } from "../toast.js";

const UNSURE = ["unreachable", "outcome-unknown", "timeout", "unavailable"];

export default async function page({ parts, query, signal, titled }) {
  const name = parts[1];
  titled(name);
  const { commands } = await get(["commands"], {}, { signal });
  const command = commands.find((each) => each.name === name);
  if (!command) return [pageHead(name, { above: [["commands"], "Commands"] }), empty("There is no such command that you may execute.", may("commander") ? null : "Ask for the role commander.")];
  const answer = h("div", { class: "answer", "aria-live": "polite" },
    empty("Nothing is done yet.", "A dry run shows the events that it would append, or why it is refused. Execute does it, once: pressing twice does it no second time."));
  let form = formOf(command.schema, command.schema);
  const given = Object.fromEntries(query.entries());
  form.write(given);
  let asJson = null;
  const slot = h("div", {}, form.element);
  const dry = h("button", { type: "button", onclick: () => act(dryRun) }, "Dry run");
  const execute = h("button", { type: "submit", class: "primary" }, "Execute");
  const turn = h("button", { type: "button", class: "quiet small turn", onclick: turned }, "Write it as JSON");
  // One key for one filled form: pressing again, or trying again after a failure, does nothing twice.
  let id = newKey();
  let sent = false;
  const element = h("form", {
    class: "command-form",
    oninput: () => {
      if (sent) {
        id = newKey();
        sent = false;
      }
    },
    onsubmit: (event) => {
      event.preventDefault();
      act(executed);
    },
  }, slot, turn, h("div", { class: "form-foot" }, dry, execute));

  function read() {
    if (!asJson) return form.read();
    try {
      return parse(asJson.value);
    } catch (problem) {
      throw new FieldProblem(`This is not JSON: ${problem.message}`, asJson);
    }
  }

  function turned() {
    if (asJson) {
      const written = asJson.value;
      asJson = null;
      form = formOf(command.schema, command.schema);
      try {
        form.write(parse(written));
      } catch {
        toast("What was written is not JSON, so the form is empty.", "bad");
      }
      fill(slot, form.element);
      turn.textContent = "Write it as JSON";
      return;
    }
    let value = {};
    try {
      value = form.read();
    } catch {
      // What is not finished is finished as text.
    }
    asJson = h("textarea", { rows: 12, class: "mono", spellcheck: "false", "aria-label": "The command as JSON" });
    asJson.value = pretty(value);
    fill(slot, asJson);
    turn.textContent = "Back to the form";
  }

  async function act(work) {
    if (!element.reportValidity()) return;
    dry.disabled = execute.disabled = true;
    try {
      const body = read();
      await work(body);
    } catch (problem) {
      if (problem instanceof FieldProblem) {
        problem.input.setCustomValidity(problem.message);
        problem.input.reportValidity();
        problem.input.addEventListener("input", () => problem.input.setCustomValidity(""), { once: true });
      } else if (!signal.aborted) fill(answer, refusal(problem));
    }
    dry.disabled = execute.disabled = false;
  }

  async function dryRun(body) {
    const preview = await post(["commands", name, "dry-run"], body, { signal });
    fill(answer, h("div", { class: "answer-box" }, h("h2", {}, "It would"),
      preview.events.length ? [h("p", {}, "append to ", streamOf(preview.stream), ` at version ${number(preview.version)}:`), eventsOf(preview.events)] : h("p", {}, "change nothing: it is so already."),
      h("p", { class: "faint small" }, "Nothing was done. Others may be faster before you execute it.")));
  }

  async function executed(body) {
    sent = true;
    const receipt = await post(["commands", name], body, { signal, headers: { "Idempotency-Key": id } });
    id = newKey();
    sent = false;
    fill(answer, h("div", { class: "answer-box good" }, h("h2", {}, icon("ok"), "Done"),
      receipt.events.length
        ? [h("p", {}, streamOf(receipt.stream), ` is at version ${number(receipt.version)}; the log's position is `, link(["events", String(receipt.position)], number(receipt.position)), "."), eventsOf(receipt.events)]
        : h("p", {}, "Nothing had to change on ", streamOf(receipt.stream), ".")));
  }

  return [
    pageHead(name, { above: [["commands"], "Commands"], lead: prose(command.description.split("\n")[0]) }),
    h("div", { class: "two" }, element, h("section", { "aria-label": "What it does" }, answer)),
  ];
}

const streamOf = (stream) => link(["streams", stream], stream, { class: "mono" });

function eventsOf(events) {
  return h("ul", { class: "said" }, events.map((event) => h("li", {}, h("strong", {}, event.type), h("span", { class: "payload mono" }, inLine(event.payload, 80)), encode(event.payload).length > 80 ? h("details", {}, h("summary", {}, "All of it"), jsonView(event.payload)) : null)));
}

function refusal(problem) {
  const rejected = problem.code.startsWith("rejected");
  return h("div", { class: `answer-box ${rejected ? "warn" : "bad"}`, role: "alert" },
    h("h2", {}, icon("warn"), rejected ? "The domain refuses it" : problem.title || "It did not work"),
    h("p", {}, problem.field ? [h("code", {}, problem.field), " "] : null, problem.message),
    UNSURE.includes(problem.code) ? h("p", {}, "It may have been done. Press Execute again: it has the same key, so that nothing happens twice.") : null);
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`;
}

/** JSON over several lines, with numerals as they are. */
function pretty(value) {
  return `{\n${Object.entries(value).map(([name, each]) => `  ${JSON.stringify(name)}: ${encode(each)}`).join(",\n")}\n}`;
}
