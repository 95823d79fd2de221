// Dialogs: the browser's own, so that focus stays inside and Escape closes.

import { h, fill, freshId } from "./dom.js";
import { problemLine } from "./states.js";

/** Opens a dialog. `make(close)` gives what stands in it. */
export function dialog(title, make, { wide = false } = {}) {
  const id = freshId("dialog");
  const box = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": id });
  const close = () => box.close();
  const body = h("div", { class: "dialog-body" });
  box.append(
    h("div", { class: "dialog-head" }, h("h2", { id }, title), h("button", { type: "button", class: "quiet", onclick: close, "aria-label": "Close" }, "×")),
    body,
  );
  fill(body, make(close));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => { if (event.target === box) close(); });
  document.body.append(box);
  box.showModal();
  return box;
}

/** Asks whether something shall be done, and does it: `act(reason)` may fail, and the dialog says why.
 *  `reason`: "asked" or "wanted" (it must be given) adds a field for it. */
export function confirmed(title, { says, button, danger = false, reason = "", fields = [] }, act) {
  return new Promise((resolve) => {
    let done = false;
    const box = dialog(title, (close) => {
      const why = reason ? h("textarea", { rows: 2, maxlength: 2000, required: reason === "wanted" }) : null;
      const wrong = h("div", { role: "alert" });
      const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, button);
      return h("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          go.disabled = true;
          fill(wrong);
          try {
            await act(why?.value.trim() ?? "");
            done = true;
            close();
          } catch (problem) {
            fill(wrong, problemLine(problem));
            go.disabled = false;
          }
        },
      },
      h("p", {}, says),
      fields,
      why ? h("label", { class: "field" }, h("span", {}, "Reason", reason === "wanted" ? "" : h("span", { class: "faint" }, " (kept in the log of operations)")), why) : null,
      wrong,
      h("div", { class: "dialog-foot" }, h("button", { type: "button", onclick: close }, "Leave it"), go));
    });
    box.addEventListener("close", () => resolve(done));
  });
}
