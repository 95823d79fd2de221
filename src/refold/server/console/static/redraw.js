// Drawing anew only what has changed, so that what stays keeps its focus, its selection and its scroll.

import { fill } from "./dom.js";
import { encode } from "./json.js";

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

/** A function that draws data into a box when it differs from what was drawn last. What is being pressed stays until it is let go:
 *  the press would be lost with it. What has the focus, and what is unfolded, has it again. */
export function redrawing(box, make) {
  let drawn = null;
  let pressed = false;
  let next = null;

  function draw(data) {
    const text = encode(data);
    if (text === drawn) return;
    if (pressed) {
      next = { data };
      return;
    }
    drawn = text;
    const focus = box.contains(document.activeElement) ? placeOf(box, FOCUSABLE, document.activeElement) : null;
    const unfolded = [...box.querySelectorAll("details[open] > summary")].map((each) => placeOf(box, "summary", each));
    fill(box, make(data));
    for (const place of unfolded) {
      const summary = at(box, "summary", place);
      if (summary) summary.parentElement.open = true;
    }
    if (focus) at(box, FOCUSABLE, focus)?.focus({ preventScroll: true });
  }

  function released() {
    // The click comes behind it.
    setTimeout(() => {
      pressed = false;
      if (next) draw(next.data);
      next = null;
    });
  }

  box.addEventListener("pointerdown", () => {
    pressed = true;
    for (const end of ["pointerup", "pointercancel"]) addEventListener(end, released, { once: true });
  });
  return draw;
}

const nameOf = (element) => `${element.tagName} ${element.getAttribute("aria-label") ?? element.textContent} ${element.getAttribute("href") ?? ""}`;

/** How an element is found again among its like: what it is called, and the how manieth of that name it is. */
function placeOf(box, selector, element) {
  const name = nameOf(element);
  return { name, number: [...box.querySelectorAll(selector)].filter((each) => nameOf(each) === name).indexOf(element) };
}

function at(box, selector, { name, number }) {
  return [...box.querySelectorAll(selector)].filter((each) => nameOf(each) === name)[number];
}
