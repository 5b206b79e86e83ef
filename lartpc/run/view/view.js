"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (name) => document.getElementById(name);
  const asked = new URLSearchParams(location.hash.slice(1));
  let numbers = [], display = null, sort = asked.get("sort") || "", down = asked.get("down") || "";
  const source = { titles: [] };
  source.load = async (place) => {
    const answer = await fetch(`event?${new URLSearchParams({ number: numbers[place], scenario: scenario(), edition: data.edition })}`);
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  };
  const scenario = () => find("scenario")?.value ?? "";
  const filters = () => ({ scenario: scenario(), table: find("table").value, where: find("where").value, search: find("search").value, sort, down });
  source.shown = (state, event) => {
    const words = {
      ...filters(), event: `${event.file_uid}/${event.entry}`, mode: state.mode, view: state.view === "3d" ? "" : state.view,
      fit: state.fit === "detector" ? "" : state.fit, particle: state.particle === null ? "" : `${state.side}/${state.particle}`,
      column: state.column, sides: state.sides === "both" ? "" : state.sides, tell: state.told.join(","),
    };
    history.replaceState(null, "", `#${new URLSearchParams(Object.entries(words).filter(([, word]) => word))}`);
    for (const row of find("list").querySelectorAll("tbody tr")) {
      const here = Number(row.dataset.place) === state.event;
      row.setAttribute("aria-selected", String(here));
      if (here) row.scrollIntoView({ block: "nearest" });
    }
  };

  // Ask for the events that a filter leaves; one that cannot be used changes nothing.
  async function filter() {
    const answer = await fetch(`list?${new URLSearchParams({ ...filters(), edition: data.edition })}`);
    const found = await answer.json();
    find("said").textContent = answer.ok ? `${found.numbers.length.toLocaleString("en")} of ${data.num_events.toLocaleString("en")} events` : found.error;
    if (!answer.ok) return false;
    numbers = found.numbers;
    source.titles = found.names;
    list(found.rows);
    return true;
  }

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // The list: a click on a name shows the event, one on the title of a column sorts by it.
  function list(rows) {
    const table = document.createElement("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    const title = (text, act) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.append(act ? button(text, act) : text);
      head.append(cell);
      return cell;
    };
    title("event");
    for (const name of Object.keys(rows)) {
      const cell = title(name, () => { down = sort === name && !down ? "1" : ""; sort = name; again(); });
      if (name === sort) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    }
    const num = Object.values(rows)[0]?.length ?? 0;
    for (let place = 0; place < num; place += 1) {
      const row = body.insertRow();
      row.dataset.place = String(place);
      row.insertCell().append(button(source.titles[place], () => display.go(place)));
      for (const values of Object.values(rows)) row.insertCell().textContent = values[place] === null ? "—" : String(values[place]);
    }
    if (num < source.titles.length) body.insertRow().insertCell().textContent = `… and ${(source.titles.length - num).toLocaleString("en")} more: filter, or sort`;
    find("list").replaceChildren(table);
  }

  async function again(name) {
    if (!await filter()) return;
    display.list();
    if (numbers.length) display.set({ event: Math.max(source.titles.indexOf(name), 0), particle: null });
  }

  const columns = () => { find("columns").textContent = data.columns[find("table").value].join(", "); };
  document.body.classList.toggle("plain", asked.get("plain") === "1");
  followTheme(() => display?.draw());
  find("table").value = asked.get("table") in data.columns ? asked.get("table") : data.tables[0];
  if (find("scenario")) {
    find("scenario").value = asked.get("scenario") || data.scenario;
    if (!find("scenario").value) find("scenario").value = data.scenario;
    // The same event in another scenario.
    find("scenario").addEventListener("change", () => again(source.titles[display.state.event]));
  }
  for (const name of ["where", "search"]) find(name).value = asked.get(name) || "";
  columns();
  find("table").addEventListener("change", columns);
  if (!await filter()) { find("where").value = ""; sort = ""; const said = find("said").textContent; await filter(); find("said").textContent = said; }
  display = new EventDisplay(find("display"), source, data.words);
  if (EventDisplay.MODES.includes(asked.get("mode"))) display.state.mode = asked.get("mode");
  if (asked.get("view") in Scene.VIEWS) display.state.view = asked.get("view");
  if (asked.get("fit") === "event") display.state.fit = "event";
  if (asked.get("sides") in EventDisplay.SHOWN) display.state.sides = asked.get("sides");
  display.state.column = asked.get("column") || "";
  display.state.told = (asked.get("tell") || "").split(",").filter(Boolean);
  const [side, particle] = (asked.get("particle") || "").split("/");
  if (EventDisplay.SIDES.includes(side) && /^\d+$/.test(particle)) Object.assign(display.state, { side, particle: Number(particle) });
  const place = source.titles.indexOf(asked.get("event"));
  if (place > 0) display.state.event = place;
  find("filter").addEventListener("submit", (submit) => { submit.preventDefault(); again(); });
  await display.draw();
  // A program that reads what the page has become (lartpc view --svg) finds the pictures as text.
  if (asked.get("svg") === "1") {
    const text = document.createElement("script");
    text.type = "text/plain";
    text.id = "svg";
    text.textContent = encodeURIComponent(display.vector());
    document.body.append(text);
  }
})();
