"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = document.getElementById("display");
  let display = null;

  function setUpEvents() {
    const source = { titles: data.displays.map((event) => event.title), load: async (number) => data.displays[number] };
    // "#mode/event" in the address opens the page at that picture.
    source.shown = (state) => history.replaceState(null, "", `#${state.mode}/${state.event}`);
    display = new EventDisplay(place, source, data.words);
    for (const button of document.querySelectorAll("#worst button[data-event]")) {
      button.addEventListener("click", () => {
        display.set({ event: Number(button.dataset.event), mode: "mistakes", particle: null });
        place.scrollIntoView({ behavior: "smooth" });
      });
    }
    const [mode, number] = location.hash.slice(1).split("/");
    if (EventDisplay.MODES.includes(mode)) display.state.mode = mode;
    if (Number(number) < data.displays.length) display.state.event = Number(number);
  }

  // Charts are drawn when they come into sight: a page of many opens at once.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      seen.unobserve(entry.target);
      entry.target.dataset.drawn = "";
      Charts.draw(entry.target, data.charts[Number(entry.target.dataset.chart)]);
    }
  }, { rootMargin: "600px" });

  function draw() {
    for (const chart of document.querySelectorAll("[data-chart]")) {
      delete chart.dataset.drawn;
      seen.unobserve(chart);
      seen.observe(chart);
    }
    display?.draw();
  }

  followTheme(draw);
  if (place && data.displays.length) setUpEvents();
  draw();
})();
