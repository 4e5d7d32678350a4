// Light, dark, or as the system has it: set before anything is drawn, so that nothing flashes.
(() => {
  "use strict";
  const KEY = "rucio-inject-theme";
  const THEMES = ["auto", "light", "dark"];
  const WORDS = {auto: "as the system has them", light: "light", dark: "dark"};
  const root = document.documentElement;

  function known() {
    try {
      const kept = localStorage.getItem(KEY);
      return THEMES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  }

  function show(theme) {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) {
      button.setAttribute("aria-label", `Colours: ${WORDS[theme]}`);
      button.title = `Colours: ${WORDS[theme]}`;
    }
    root.dispatchEvent(new CustomEvent("themechange"));
  }

  show(known());
  document.addEventListener("DOMContentLoaded", () => {
    show(known());
    document.getElementById("theme").addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(known()) + 1) % THEMES.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // Shown for this page only.
      }
      show(next);
    });
  });
})();
