// Drawing again what is looked at again and again: only where something has changed, so that focus and reading stay.

import { fill } from "./dom.js";
import { encode } from "./json.js";

/** A function that draws data into a box when it differs from what was drawn last. */
export function redrawing(box, make) {
  let last = null;
  return (data) => {
    const text = encode(data);
    if (text === last) return;
    last = text;
    fill(box, make(data));
  };
}
