// The door: a key or a token, once; the browser keeps it where no script reads it.

import { post, session } from "../api.js";
import { fill, h } from "../dom.js";
import { go } from "../router.js";
import { problemLine } from "../states.js";

export default function page({ query, titled }) {
  titled("Sign in");
  const key = h("input", { type: "password", name: "key", autocomplete: "current-password", required: true, maxlength: 8192, spellcheck: "false", autofocus: true });
  const wrong = h("div", { role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", {
    class: "door",
    onsubmit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      fill(wrong);
      try {
        Object.assign(session, await post(["console", "session"], { key: key.value.trim() }));
        go(inside(query.get("next")), { replace: true });
      } catch (problem) {
        fill(wrong, problemLine(problem));
        button.disabled = false;
        key.select();
      }
    },
  },
  h("h1", {}, "Sign in"),
  h("p", { class: "lead" }, "With an API key of this server, or a token of your organisation."),
  h("label", { class: "field" }, h("span", {}, "API key or token"), key),
  wrong,
  button,
  h("p", { class: "faint small" }, "Keys are made by ", h("code", {}, "refold keys add NAME --role reader"), " on the server."));
  queueMicrotask(() => key.focus());
  return form;
}

/** Where one wanted to go, if that is a page of this console. */
function inside(next) {
  const base = new URL(document.baseURI);
  try {
    const url = new URL(next || base, base);
    return url.origin === base.origin && url.pathname.startsWith(base.pathname) ? url : base;
  } catch {
    return base;
  }
}
