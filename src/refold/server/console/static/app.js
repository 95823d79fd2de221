// The console begins: who one is, which page it is, and what the keyboard does.

import { recognise, session, whenSignedOut } from "./api.js";
import { h, fill } from "./dom.js";
import { frame, mark, bare } from "./frame.js";
import { listen } from "./keys.js";
import { begin, go, moduleOf, pageAddress, place } from "./router.js";
import { problemShown, waiting } from "./states.js";

const root = document.getElementById("app");
let leaving = new AbortController();
let framed = null;

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const where = place();
  let name = moduleOf(where);
  if (!session.me && session.asks && name !== "sign-in") {
    go(pageAddress(["sign-in"], { next: location.pathname + location.search }), { replace: true });
    return;
  }
  const module = await import(`./pages/${name}.js`);
  if (signal.aborted) return;
  const content = name === "sign-in" ? bared() : inFrame();
  const slow = setTimeout(() => fill(content, waiting()), 120);
  document.title = "Refold";
  const page = {
    ...where,
    content,
    signal,
    titled: (title) => { document.title = `${title} · ${session.me?.app ?? "Refold"}`; },
  };
  try {
    const shown = await module.default(page);
    clearTimeout(slow);
    if (signal.aborted) return;
    fill(content, shown);
    scrollTo(0, 0);
    arrive(content);
  } catch (problem) {
    clearTimeout(slow);
    if (signal.aborted || problem.name === "AbortError") return;
    fill(content, problemShown(problem, show));
    arrive(content);
  }
}

let first = true;

/** The heading has the focus on a new page, so that a screen reader tells where one is. */
function arrive(content) {
  mark(place().parts[0] ?? "");
  const heading = content.querySelector("h1");
  if (heading && !first && !content.contains(document.activeElement)) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  first = false;
}

function inFrame() {
  if (!framed) {
    framed = frame();
    fill(root, framed.element);
  }
  return framed.content;
}

function bared() {
  framed = null;
  const content = bare();
  fill(root, content);
  return content;
}

whenSignedOut(() => {
  session.me = null;
  framed = null;
  show();
});

// What the page needs is fetched while the server says who one is.
import(`./pages/${moduleOf(place())}.js`).catch(() => {});

try {
  await recognise();
  listen();
  begin(show);
  await show();
} catch (problem) {
  fill(root, h("main", { class: "bare", id: "content" }, problemShown(problem, () => location.reload())));
}
