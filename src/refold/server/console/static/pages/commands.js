// Commands: what one may ask of the domain, in groups of what it is about.

import { get } from "../api.js";
import { h } from "../dom.js";
import { prose } from "../events.js";
import { pageHead } from "../frame.js";
import { link } from "../router.js";
import { empty } from "../states.js";

export default async function page({ query, signal, titled }) {
  titled("Commands");
  const { commands } = await get(["commands"], {}, { signal });
  if (!commands.length) return [pageHead("Commands"), empty("There are no commands that you may execute.", "The role commander, or commander:NAME for one command or category, allows them.")];
  const category = query.get("category");
  const key = query.get("key");
  const shown = commands.filter((each) => !category || each.category === category);
  const groups = new Map();
  for (const each of shown) groups.set(each.category, [...(groups.get(each.category) ?? []), each]);
  const found = h("p", { class: "unseen", role: "status" });
  const search = h("input", { type: "search", "data-search": true, "aria-label": "Find a command", placeholder: "find one: press /", oninput: () => {
    const sought = search.value.trim().toLowerCase();
    let left = 0;
    for (const item of document.querySelectorAll("[data-command]")) {
      item.hidden = !item.dataset.command.includes(sought);
      if (!item.hidden) left += 1;
    }
    found.textContent = `${left} commands`;
  } });
  return [
    pageHead("Commands", { lead: key ? ["for ", link(["streams", `${category}-${key}`], `${category}-${key}`, { class: "mono" })] : null, actions: [search, found] }),
    [...groups].map(([name, each]) => h("section", { class: "block", "aria-label": name }, h("h2", {}, name),
      h("ul", { class: "command-list" }, each.map((command) => h("li", { "data-command": `${command.name} ${command.description}`.toLowerCase() },
        link(["commands", command.name], command.name, { class: "strong", "data-row": true, query: key ? { [command.id_field]: key } : {} }),
        h("p", { class: "faint" }, prose(command.description.split("\n")[0]))))))),
  ];
}
