// Before anything is painted: the theme that was chosen here, or the system's.
(function () {
  "use strict";
  try {
    const chosen = localStorage.getItem("refold-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // No storage, no choice: the system's it is.
  }
})();
