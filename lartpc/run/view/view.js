"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (name) => document.getElementById(name);
  const asked = new URLSearchParams(location.hash.slice(1));
  let numbers = [], display = null;
  const source = { titles: [] };
  source.load = async (place) => {
    const answer = await fetch(`event?number=${numbers[place]}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  };
  source.shown = (state, event) => {
    const words = { table: find("table").value, where: find("where").value, event: `${event.file_uid}/${event.entry}`, mode: state.mode };
    history.replaceState(null, "", `#${new URLSearchParams(Object.entries(words).filter(([, word]) => word))}`);
  };

  // Ask for the events that a filter leaves; one that cannot be used changes nothing.
  async function filter() {
    const words = new URLSearchParams({ table: find("table").value, where: find("where").value });
    const answer = await fetch(`list?${words}`);
    const found = await answer.json();
    find("said").textContent = answer.ok ? `${found.numbers.length.toLocaleString("en")} of ${data.num_events.toLocaleString("en")} events` : found.error;
    if (!answer.ok) return false;
    numbers = found.numbers;
    source.titles = found.names;
    return true;
  }

  const columns = () => { find("columns").textContent = data.columns[find("table").value].join(", "); };
  followTheme(() => display?.draw());
  find("table").value = asked.get("table") in data.columns ? asked.get("table") : data.tables[0];
  find("where").value = asked.get("where") || "";
  columns();
  find("table").addEventListener("change", columns);
  if (!await filter()) { find("where").value = ""; const said = find("said").textContent; await filter(); find("said").textContent = said; }
  display = new EventDisplay(find("display"), source, data.words);
  if (EventDisplay.MODES.includes(asked.get("mode"))) display.state.mode = asked.get("mode");
  const place = source.titles.indexOf(asked.get("event"));
  if (place > 0) display.state.event = place;
  find("filter").addEventListener("submit", async (submit) => {
    submit.preventDefault();
    if (!await filter()) return;
    display.list();
    if (numbers.length) display.set({ event: 0, particle: null });
  });
  display.draw();
})();
