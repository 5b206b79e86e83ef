"use strict";
// The display of events: tools, the two sides, legends, keys, and what is known of a particle that was clicked.
// `source` gives the events: `titles`, and `load(number)`, which promises one.
class EventDisplay {
  static MODES = ["energy", "semantic", "fragment", "particle", "interaction", "points", "vertices", "mistakes"];
  static SIDES = ["truth", "prediction"];
  static SHOWN = { both: "side by side", truth: "truth", prediction: "reconstruction", one: "in one" };
  static NAMES = { truth: "truth", prediction: "reconstruction" };

  constructor(root, source, words) {
    this.root = root;
    this.source = source;
    this.words = words;
    this.state = {
      event: 0, mode: "semantic", view: "3d", fit: "detector", sides: "both", particle: null, side: "prediction", column: "", told: [],
      ...EventDisplay.start(), camera: Picture.CAMERA,
    };
    this.opened = new Map();
    this.hidden = new Set();
    this.build();
    this.listen();
  }

  // A flat picture shows all of it at first.
  static start() { return { pan: [0, 0], zoom: 1 }; }

  find(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  build() {
    const choice = (part, label, entries) => `<div class="choice" data-part="${part}" role="group" aria-label="${label}">${
      entries.map(([value, text]) => `<button type="button" data-value="${value}">${text}</button>`).join("")}</div>`;
    const modes = EventDisplay.MODES.map((mode, i) => [mode, `<kbd>${i + 1}</kbd>${mode === "semantic" ? "class" : mode}`]);
    this.root.innerHTML = `
      <div class="tools">
        <button data-part="previous" type="button" aria-label="previous event">‹</button>
        <select data-part="event" aria-label="event"></select>
        <button data-part="next" type="button" aria-label="next event">›</button>
        <span class="note" data-part="note" role="status"></span>
      </div>
      <div class="tools">
        ${choice("mode", "colour by", modes)}
        <select data-part="column" aria-label="colour by a column" title="colour objects by a column of their table"></select>
        <select data-part="view" aria-label="view"><option value="3d">3D</option>${Object.entries(Scene.VIEWS).filter(([, view]) => view).map(([key, view]) => `<option value="${key}">${view.name}</option>`).join("")}</select>
        ${choice("sides", "truth and reconstruction", Object.entries(EventDisplay.SHOWN))}
        ${choice("fit", "size of the picture", [["detector", "detector"], ["event", "event"]])}
        <button data-part="save" type="button" title="save the pictures as PNG files">PNG</button>
        <button data-part="vector" type="button" title="save the pictures as SVG files">SVG</button>
        <button data-part="json" type="button" title="save what is drawn as JSON">JSON</button>
        <details class="told" data-part="told"><summary>tell on hover</summary><div data-part="tellable" role="group" aria-label="columns that the pointer is told"></div></details>
      </div>
      <div class="panels" data-part="panels">${EventDisplay.SIDES.map((side) => `
        <figure data-part="${side}-panel">
          <figcaption data-part="${side}-caption">${EventDisplay.NAMES[side]}</figcaption>
          <div class="picture" data-part="${side}" tabindex="0" role="img" aria-label="${EventDisplay.NAMES[side]}; arrow keys turn it"></div>
          <button class="wake" type="button" data-wake="${side}">tap to turn</button>
          <div class="legend" data-part="${side}-legend"></div>
        </figure>`).join("")}
      </div>
      <div class="object" data-part="object" hidden></div>
      <details class="help"><summary>what the pictures show, and keys</summary>
        <p class="note"><span class="keys">Drag to turn, with <kbd>shift</kbd> or the right button to move; a click into a picture lets the wheel zoom. Keys: <kbd>←</kbd> <kbd>→</kbd> event, <kbd>1</kbd> to <kbd>8</kbd> colours, <kbd>v</kbd> view, <kbd>t</kbd> truth or reconstruction, <kbd>f</kbd> detector or event, <kbd>Esc</kbd> forget the particle; in a picture arrows turn it, <kbd>+</kbd> and <kbd>-</kbd> zoom, <kbd>0</kbd> is where it began. </span>A click on a voxel says what is known of its particle; coloured by particle, it and its match stand out. A reconstructed object has the colour of the true object that it matches best. Crosses are vertices, open squares starts of particles, diamonds ends of tracks. Mistakes are voxels of the wrong class, named “true → predicted” in the colour of each side's class, and points without one of the other side within 3 voxels. “In one” draws the truth as larger squares behind the reconstruction: where frame and centre differ in colour, the two differ.</p></details>`;
    this.pictures = Object.fromEntries(EventDisplay.SIDES.map((side) => [side, new Picture(this.find(side), (aim) => this.turned(side, aim), (row) => this.asked(side, row))]));
    this.list();
  }

  // Fill the list of events with the titles of the source; what was opened of another list is forgotten.
  list() {
    this.opened.clear();
    this.find("event").replaceChildren(...this.source.titles.map((title, number) => new Option(title, String(number))));
  }

  listen() {
    this.find("event").addEventListener("change", (change) => this.go(Number(change.target.value)));
    this.find("previous").addEventListener("click", () => this.go(this.state.event - 1));
    this.find("next").addEventListener("click", () => this.go(this.state.event + 1));
    this.find("column").addEventListener("change", (change) => this.set({ column: change.target.value }));
    this.find("view").addEventListener("change", (change) => this.set({ view: change.target.value }));
    this.find("save").addEventListener("click", () => this.save("png"));
    this.find("vector").addEventListener("click", () => this.save("svg"));
    this.find("json").addEventListener("click", () => this.saveData());
    this.find("tellable").addEventListener("change", () => this.set({ told: [...this.find("tellable").querySelectorAll(":checked")].map((box) => box.value) }));
    for (const part of ["mode", "fit", "sides"]) {
      this.find(part).addEventListener("click", (click) => {
        const button = click.target.closest("button");
        if (button) this.set({ [part]: button.dataset.value });
      });
    }
    document.addEventListener("keydown", (press) => this.key(press));
    for (const side of EventDisplay.SIDES) this.guard(side);
    for (const button of this.root.querySelectorAll("[data-wake]")) {
      button.addEventListener("click", () => this.wake(button.dataset.wake, !this.find(`${button.dataset.wake}-panel`).classList.contains("awake")));
    }
  }

  // A picture that nobody touched leaves wheel and swipes to the page.
  guard(side) {
    const panel = this.find(`${side}-panel`), picture = this.find(side);
    picture.addEventListener("pointerdown", (press) => { if (press.pointerType === "mouse") this.wake(side, true); }, { capture: true });
    document.addEventListener("pointerdown", (press) => { if (!panel.contains(press.target)) this.wake(side, false); });
  }

  wake(side, awake) {
    this.find(`${side}-panel`).classList.toggle("awake", awake);
    this.root.querySelector(`[data-wake="${side}"]`).textContent = awake ? "done" : "tap to turn";
  }

  key(press) {
    const field = press.target.closest?.("input, select, textarea, [contenteditable]");
    if (field || press.ctrlKey || press.metaKey || press.altKey) return;
    const inside = press.target.closest?.(".picture");
    const number = Number(press.key);
    const picture = inside && this.pictures[inside.dataset.part];
    const turns = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] };
    if (picture && press.key in turns) {
      if (picture.view) picture.shift(...turns[press.key].map((angle, axis) => (axis ? 300 : -300) * angle)); else picture.turn(...turns[press.key]);
    } else if (picture && "+=-".includes(press.key)) picture.zoom(press.key === "-" ? 1 / 1.2 : 1.2);
    else if (picture && press.key === "0") this.set({ camera: Picture.CAMERA, ...EventDisplay.start() });
    else if (press.key === "ArrowLeft") this.go(this.state.event - 1);
    else if (press.key === "ArrowRight") this.go(this.state.event + 1);
    else if (number >= 1 && number <= EventDisplay.MODES.length) this.set({ mode: EventDisplay.MODES[number - 1] });
    else if (press.key === "f") this.set({ fit: this.state.fit === "event" ? "detector" : "event" });
    else if (press.key === "t") {
      const shown = Object.keys(EventDisplay.SHOWN);
      this.set({ sides: shown[(shown.indexOf(this.state.sides) + 1) % shown.length] });
    } else if (press.key === "v") {
      const views = Object.keys(Scene.VIEWS);
      this.set({ view: views[(views.indexOf(this.state.view) + 1) % views.length] });
    } else if (press.key === "Escape") this.set({ particle: null });
    else return;
    press.preventDefault();
  }

  // One picture was turned, moved or enlarged: the other shows the same.
  turned(side, { camera, pan, zoom }) {
    Object.assign(this.state, { camera, pan, zoom });
    for (const other of EventDisplay.SIDES) if (other !== side && this.pictures[other].event) this.pictures[other].look({ camera, pan, zoom });
  }

  // A voxel was clicked: its particle is described.
  asked(side, row) {
    const sides = this.state.sides === "one" ? ["prediction", "truth"] : [side];
    for (const name of sides) {
      const particle = this.current.sides[name].particle[row];
      if (particle >= 0) { this.set({ particle, side: name }); return; }
    }
  }

  set(change) {
    if ("mode" in change || "event" in change || "sides" in change || "column" in change) this.hidden.clear();
    if ("event" in change || "view" in change || "fit" in change) change = { ...EventDisplay.start(), ...change };
    Object.assign(this.state, change);
    return this.draw();
  }

  go(number) {
    const count = this.source.titles.length;
    return this.set({ event: (number + count) % count, particle: null });
  }

  async event(number) {
    if (!this.opened.has(number)) {
      if (this.opened.size > 20) this.opened.delete(this.opened.keys().next().value);
      this.opened.set(number, Scene.open(await this.source.load(number)));
    }
    return this.opened.get(number);
  }

  async draw() {
    if (!this.source.titles.length) return;
    const number = this.state.event;
    let event;
    try {
      event = await this.event(number);
    } catch (error) {
      this.find("note").textContent = `this event cannot be shown: ${error.message}`;
      return;
    }
    if (number !== this.state.event) return; // another was asked for meanwhile
    this.current = event;
    if (event.dimension === 2) this.state.view = "3d";
    const single = !event.sides.truth, shown = single ? "prediction" : this.state.sides;
    this.find("panels").classList.toggle("single", shown !== "both");
    this.find("truth-panel").hidden = !["both", "truth"].includes(shown);
    this.find("prediction-panel").hidden = shown === "truth";
    this.find("prediction-caption").textContent = shown === "one" ? "reconstruction, before the truth in larger squares" : EventDisplay.NAMES.prediction;
    this.find("sides").hidden = single;
    this.find("event").value = String(number);
    this.find("view").value = this.state.view;
    this.find("view").hidden = event.dimension === 2;
    for (const part of ["mode", "fit", "sides"]) {
      for (const button of this.find(part).children) {
        button.setAttribute("aria-pressed", String(button.dataset.value === this.state[part]));
        if (button.dataset.value === "mistakes" && part === "mode") button.disabled = single;
      }
    }
    this.columns(event);
    this.tellable(event);
    const thinned = event.num_drawn < event.num_voxels ? `${event.num_drawn.toLocaleString("en")} of ` : "";
    this.find("note").textContent = `${thinned}${event.num_voxels.toLocaleString("en")} voxels, ${event.energy_mev} MeV deposited${event.set_aside ? `; set aside by ${event.set_aside}` : ""}`;
    for (const side of EventDisplay.SIDES) this.drawSide(event, side, shown);
    this.describe(event);
    this.source.shown?.(this.state, event);
    this.root.dataset.drawn = `${number}/${this.state.mode}/${this.state.view}`;
  }

  // The columns to colour objects by: those of the table of fragments, particles or interactions.
  columns(event) {
    const rows = Scene.columned(event, this.state.mode).filter((name) => !/^(file_uid|entry)$/.test(name));
    this.find("column").replaceChildren(new Option(`each ${this.state.mode}`, ""), ...rows.map((name) => new Option(name, name)));
    this.find("column").value = rows.includes(this.state.column) ? this.state.column : "";
    this.find("column").hidden = !rows.length;
  }

  // The columns that the pointer can be told, of what is coloured.
  tellable(event) {
    const names = Scene.columned(event, this.state.mode), place = this.find("tellable");
    this.find("told").hidden = !names.length;
    if (place.dataset.of !== names.join()) {
      place.dataset.of = names.join();
      place.replaceChildren(...names.map((name) => {
        const label = document.createElement("label"), box = Object.assign(document.createElement("input"), { type: "checkbox", value: name });
        label.append(box, name);
        return label;
      }));
    }
    for (const box of place.querySelectorAll("input")) box.checked = this.state.told.includes(box.value);
  }

  drawSide(event, name, shown) {
    const picture = this.pictures[name], side = event.sides[name];
    if (this.find(`${name}-panel`).hidden || !side) { picture.clear(); return; }
    const chosen = Object.fromEntries(Object.keys(event.sides).map((one) => [one, this.chosen(event, one)]));
    const state = { ...this.state, particle: chosen[name], chosen, hidden: this.hidden };
    const traces = Scene.traces(event, shown === "one" ? null : side, state, this.words);
    for (const trace of traces) trace.visible = !this.hidden.has(trace.name);
    const { camera, pan, zoom, view } = this.state;
    picture.show(event, traces, { camera, pan, zoom }, event.extent[this.state.fit], Scene.viewOf(event, view));
    this.legend(name, traces.flatMap((trace) => trace.entries ?? (trace.scale ? [] : [{ name: trace.name, shade: trace.shade ?? trace.colour }])));
  }

  // The particle that was clicked, or on the other side its match; -1: it has none, null: none was clicked.
  chosen(event, name) {
    const { particle, side } = this.state;
    return particle === null || side === name ? particle : event.sides[side]?.particles[particle]?.match ?? -1;
  }

  legend(name, entries) {
    const named = entries.filter((entry) => !["active volumes", "beam"].includes(entry.name));
    this.find(`${name}-legend`).replaceChildren(...named.sort((a, b) => (a.order ?? Infinity) - (b.order ?? Infinity) || 0).map((entry) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!this.hidden.has(entry.name)));
      const dot = document.createElement("i");
      dot.style.background = typeof entry.shade === "string" ? entry.shade : Scene.GREY;
      button.append(dot, entry.name);
      button.addEventListener("click", () => {
        if (!this.hidden.delete(entry.name)) this.hidden.add(entry.name);
        this.draw();
      });
      return button;
    }));
  }

  describe(event) {
    const place = this.find("object");
    const particle = event.sides[this.state.side]?.particles[this.state.particle];
    place.hidden = this.state.particle === null || !particle;
    if (place.hidden) { place.replaceChildren(); return; }
    describeParticle(place, particle, this.state.side, (number, side) => this.set({ particle: number, side }));
  }

  // The pictures that are shown, by their side.
  shown() { return EventDisplay.SIDES.filter((side) => this.pictures[side].event).map((side) => [side, this.pictures[side]]); }

  download(content, name, type) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async save(format) {
    for (const [side, picture] of this.shown()) {
      const content = format === "svg" ? picture.svg(1400, 1000) : await picture.png(1400, 1000, 2);
      this.download(content, `${this.fileName()}_${side}.${format}`, format === "svg" ? "image/svg+xml" : "image/png");
    }
  }

  // What is shown in one SVG, with the names of the sides above.
  vector() {
    const parts = this.shown().map(([side, picture], number) => {
      const svg = picture.svg(1400, 1000).replace("<svg", `<svg x="${1400 * number}" y="40"`);
      return `<text x="${1400 * number + 20}" y="28" font-size="22" font-family="sans-serif" fill="${Scene.colour("ink")}">${EventDisplay.NAMES[side]}</text>${svg}`;
    });
    const width = 1400 * parts.length;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="1040" viewBox="0 0 ${width} 1040"><rect width="100%" height="100%" fill="${Scene.colour("panel")}"/>${parts.join("")}</svg>`;
  }

  async saveData() {
    this.download(JSON.stringify(await this.source.load(this.state.event)), `${this.fileName()}.json`, "application/json");
  }

  fileName() { return `${this.current.file_uid}_${this.current.entry}`.replace(/[^\w.-]+/g, "_"); }
}
