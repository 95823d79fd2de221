// What stands around every page: where one can go, and who one is.

import { remove, session } from "./api.js";
import { h, icon, s } from "./dom.js";
import { showKeys } from "./keys.js";
import { go, link, pageAddress } from "./router.js";
import { toast } from "./toast.js";

const PLACES = [
  ["", "Overview", "overview"],
  ["log", "Log", "log"],
  ["streams", "Streams", "streams"],
  ["projections", "Projections", "projections"],
  ["read-models", "Read models", "models"],
  ["commands", "Commands", "commands"],
  ["audit", "Audit", "audit"],
];
const OF = { events: "log" };

function brand() {
  return h("a", { class: "brand", href: "./", "aria-label": `Refold, ${session.me.app}: overview` },
    s("svg", { viewBox: "0 0 24 24", width: 26, height: 26, "aria-hidden": "true" },
      s("rect", { width: 24, height: 24, rx: 6, class: "mark-ground" }),
      s("path", { d: "M7 18V6h6l4 4-4 3.5L17 18M13 6v4h4", class: "mark-line" })),
    h("span", { class: "brand-words" },
      h("strong", {}, session.me.app),
      h("span", { class: "faint" }, "Refold")));
}

/** The frame, and the element in which a page stands. */
export function frame() {
  const content = h("main", { id: "content", tabindex: -1 });
  const places = h("ul", {}, PLACES.map(([path, label, drawing]) =>
    h("li", {}, h("a", { href: path || "./", "data-place": path }, icon(drawing), label))));
  const menu = h("button", { type: "button", class: "menu quiet", "aria-expanded": "false", "aria-controls": "places" },
    icon("menu"), h("span", { class: "unseen" }, "Menu"));
  const side = h("nav", { id: "places", "aria-label": "Pages" }, places, foot());
  menu.addEventListener("click", () => open(menu.getAttribute("aria-expanded") !== "true"));
  side.addEventListener("click", (event) => { if (event.target.closest("a")) open(false); });
  function open(wanted) {
    menu.setAttribute("aria-expanded", String(wanted));
    side.classList.toggle("open", wanted);
  }
  const element = h("div", { class: "frame" }, h("header", { class: "side" }, h("div", { class: "side-top" }, brand(), menu), side), content);
  return { element, content };
}

function foot() {
  const { me, asks } = session;
  const leave = asks && me.by !== "loopback"
    ? h("button", { type: "button", class: "quiet small", onclick: signOut }, icon("leave"), "Sign out")
    : null;
  return h("div", { class: "foot" },
    h("p", { class: "who" }, h("strong", { title: me.name }, me.name), h("span", { class: "faint" }, me.roles.length ? rolesOf(me.roles) : "no role")),
    h("div", { class: "foot-row" }, themeButton(), h("button", { type: "button", class: "quiet small", onclick: showKeys, title: "Keyboard shortcuts (?)" }, icon("keyboard"), "Keys"), leave),
    h("p", { class: "faint version", title: me.store }, `Refold ${me.version}`));
}

function rolesOf(roles) {
  return roles.length > 3 ? `${roles.slice(0, 3).join(", ")} and ${roles.length - 3} more` : roles.join(", ");
}

async function signOut() {
  try {
    await remove(["console", "session"]);
  } catch (problem) {
    toast(problem.message, "bad");
    return;
  }
  session.me = null;
  go(pageAddress(["sign-in"]));
}

const THEMES = { "": ["auto", "System"], light: ["sun", "Light"], dark: ["moon", "Dark"] };

function themeButton() {
  const button = h("button", { type: "button", class: "quiet small" });
  const draw = () => {
    const chosen = document.documentElement.dataset.theme ?? "";
    const [drawing, label] = THEMES[chosen];
    button.replaceChildren(icon(drawing), label);
    button.setAttribute("aria-label", `Colours: ${label}`);
    button.title = "Light, dark, or as the system has it";
  };
  button.addEventListener("click", () => {
    const order = Object.keys(THEMES);
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? "") + 1) % order.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem("refold-theme", next);
    } catch {
      // It holds until the page is left.
    }
    draw();
  });
  draw();
  return button;
}

/** Marks where one is. */
export function mark(first) {
  const wanted = OF[first] ?? first;
  for (const each of document.querySelectorAll("[data-place]")) {
    if (each.dataset.place === wanted) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
}

/** A page without a frame. */
export function bare() {
  return h("main", { id: "content", class: "bare", tabindex: -1 });
}

/** The head of a page: its name, where it belongs, a line about it, and what can be done. */
export function pageHead(title, { above = null, lead = null, actions = [] } = {}) {
  return h("div", { class: "page-head" },
    h("div", { class: "page-title" },
      above ? h("p", { class: "above" }, link(above[0], above[1])) : null,
      h("h1", {}, title),
      lead ? h("p", { class: "lead" }, lead) : null),
    actions.length ? h("div", { class: "actions" }, actions) : null);
}
