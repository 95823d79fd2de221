// Which page is shown: the path below the console says so, and the back button keeps its word.

import { h } from "./dom.js";

const BASE = new URL(document.baseURI).pathname;

const PAGES = {
  "": "overview", log: "log", streams: "streams", events: "event", projections: "projections",
  "read-models": "read-models", commands: "commands", audit: "audit", "sign-in": "sign-in",
};
const DEEPER = { streams: "stream", projections: "projection", commands: "command" };

/** Where one is: the parts of the path, decoded, and the parameters. */
export function place() {
  const path = location.pathname.startsWith(BASE) ? location.pathname.slice(BASE.length) : "";
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { parts, query: new URLSearchParams(location.search) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a page, relative to the console. */
export function pageAddress(parts, query = {}) {
  const path = parts.map((part) => encodeURIComponent(part)).join("/");
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") search.append(name, String(each));
    }
  }
  const text = search.toString();
  return `${path || "./"}${text ? `?${text}` : ""}`;
}

/** A link to a page. */
export function link(parts, content, { query, ...props } = {}) {
  return h("a", { href: pageAddress(parts, query), ...props }, content);
}

/** The name of the module that shows a place. */
export function moduleOf({ parts }) {
  const [first = ""] = parts;
  if (parts.length > 1 && Object.hasOwn(DEEPER, first)) return DEEPER[first];
  if (first === "read-models" && parts.length === 2) return "rows";
  if (first === "read-models" && parts.length > 2) return "row";
  return Object.hasOwn(PAGES, first) ? PAGES[first] : "missing";
}

let shown = () => {};

/** Begins: `show` is called for every place that one comes to. */
export function begin(show) {
  shown = show;
  addEventListener("popstate", () => show());
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target.closest?.("a[href]");
    if (!anchor || anchor.getAttribute("target") || anchor.hasAttribute("download")) return;
    const url = new URL(anchor.getAttribute("href"), document.baseURI);
    if (anchor.getAttribute("href").startsWith("#")) {
      // The base is not the page, so the browser would leave it.
      event.preventDefault();
      document.getElementById(anchor.getAttribute("href").slice(1))?.focus();
      return;
    }
    if (url.origin !== location.origin || !url.pathname.startsWith(BASE)) return;
    event.preventDefault();
    go(url);
  });
}

/** Goes to an address of the console. */
export function go(url, { replace = false } = {}) {
  const there = new URL(url, document.baseURI);
  history[replace ? "replaceState" : "pushState"](null, "", there);
  shown();
}

/** Writes parameters into the address without leaving the page: a permalink to what is seen. */
export function note(query) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(query)) {
    url.searchParams.delete(name);
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, String(each));
    }
  }
  history.replaceState(null, "", url);
}
