// What happens comes as events; parts of the page that show it ask for themselves anew (htmx), and figure 1 grows.
(() => {
  "use strict";
  const address = document.body.dataset.events;
  if (!address) return;
  const PAUSE = 1000; // ms between two looks at the record, however much happens
  const light = document.getElementById("live");
  let wanted = false;
  let waiting = null;
  let source = null;

  function tell(state, words) {
    light.dataset.state = state;
    light.querySelector(".word").textContent = words;
  }

  function look() {
    if (waiting !== null) {
      wanted = true;
      return;
    }
    wanted = false;
    // What could not be shown before may now be: all of the page is another one then.
    if (document.querySelector("[data-reload]")) location.reload();
    if (!document.hidden && window.htmx) htmx.trigger(document.body, "moved");
    waiting = setTimeout(() => {
      waiting = null;
      if (wanted) look();
    }, PAUSE);
  }

  function listen() {
    source = new EventSource(address);
    let lost = false;
    source.addEventListener("open", () => {
      tell("on", "live");
      if (lost) {
        document.dispatchEvent(new CustomEvent("caughtup"));
        look();
      }
      lost = false;
    });
    source.addEventListener("error", () => {
      lost = true;
      tell("off", "not connected");
    });
    source.addEventListener("moved", look);
    source.addEventListener("counts", (event) => {
      document.dispatchEvent(new CustomEvent("counts", {detail: JSON.parse(event.data)}));
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
  listen();

  document.addEventListener("change", (event) => {
    if (event.target.id !== "all") return;
    for (const box of document.querySelectorAll('input[name="did"]')) box.checked = event.target.checked;
  });
})();
