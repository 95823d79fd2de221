// Read models: which there are.

import { get } from "../api.js";
import { h } from "../dom.js";
import { prose } from "../events.js";
import { pageHead } from "../frame.js";
import { link } from "../router.js";
import { empty } from "../states.js";

export default async function page({ signal, titled }) {
  titled("Read models");
  const { read_models: models } = await get(["read-models"], {}, { signal });
  return [
    pageHead("Read models"),
    models.length
      ? h("ul", { class: "cards" }, models.map((model) => h("li", { class: "card" },
        h("h2", {}, link(["read-models", model.name], model.name, { "data-row": true })),
        h("p", {}, model.description ? prose(model.description.split("\n")[0]) : h("span", { class: "faint" }, "Its class says nothing about it.")),
        h("p", { class: "faint small" }, "key ", h("span", { class: "mono" }, model.key.join(", ")), model.inline ? ", moves with every append" : ""))))
      : empty("There are no read models that you may read."),
  ];
}
