// No page has this address.

import { pageHead } from "../frame.js";
import { empty } from "../states.js";

export default function page({ titled }) {
  titled("No such page");
  return [pageHead("No such page"), empty("Nothing is at this address.", "The pages are listed at the side; press ? for the keyboard's ways.")];
}
