// Elements from text and nodes. Whatever is data becomes a text node or an attribute's value, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `h("a", { href, class: "x", onclick }, "text", node, [more])`. */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** An SVG element. */
export function s(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Appends nodes, text, and lists of them; null and false are left out. */
export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Replaces all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

let counted = 0;

/** An id that no other element has. */
export function freshId(word) {
  counted += 1;
  return `${word}-${counted}`;
}

const ICONS = {
  overview: "M3 12h4l3-8 4 16 3-8h4",
  log: "M4 6h16M4 12h16M4 18h10",
  streams: "M4 7c4 0 4 4 8 4s4-4 8-4M4 15c4 0 4 4 8 4s4-4 8-4",
  projections: "M4 20V10m5 10V4m5 16v-7m5 7V8",
  models: "M4 5h16v14H4zM4 10h16M10 10v9",
  commands: "M5 6l6 6-6 6M13 18h6",
  audit: "M12 3l7 3v6c0 4-3 7-7 9-4-2-7-5-7-9V6zM9 12l2 2 4-4",
  chevron: "M9 6l6 6-6 6",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  pause: "M8 5v14M16 5v14",
  play: "M7 5l11 7-11 7z",
  menu: "M4 7h16M4 12h16M4 17h16",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  moon: "M20 14.5A8 8 0 119.5 4a6.5 6.5 0 0010.5 10.5z",
  auto: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 3v18",
  keyboard: "M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8",
  leave: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  ok: "M5 12l5 5 9-10",
  plus: "M12 5v14M5 12h14",
  cross: "M6 6l12 12M18 6L6 18",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  why: "M9 9a3 3 0 115 2c-1 1-2 1.5-2 3M12 17h.01",
  search: "M11 4a7 7 0 100 14 7 7 0 000-14zM16 16l4 4",
};

/** A small drawing that says nothing by itself. */
export function icon(name) {
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", width: 16, height: 16, "aria-hidden": "true", focusable: "false" },
    s("path", { d: ICONS[name], fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" }),
  );
}
