"use strict";
// The display of events: tools, the two sides, legends, keys, and what is known of a particle that was clicked.
// `source` gives the events: `titles`, and `load(number)`, which promises one.
class EventDisplay {
  static MODES = ["energy", "semantic", "fragment", "particle", "interaction", "points", "vertices", "mistakes"];
  static SIDES = ["truth", "prediction"];
  static CAMERA = { eye: { x: -1.68, y: 0.67, z: -0.97 }, up: { x: 0, y: 1, z: 0 }, center: { x: 0, y: -0.1, z: 0 } };
  static SETTINGS = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: true };

  constructor(root, source, words) {
    this.root = root;
    this.source = source;
    this.words = words;
    // a narrow picture shows the same from farther away
    const away = root.clientWidth < 600 ? 1.3 : 1;
    const { eye } = EventDisplay.CAMERA;
    const camera = { ...EventDisplay.CAMERA, eye: { x: eye.x * away, y: eye.y * away, z: eye.z * away } };
    this.state = { event: 0, mode: "semantic", view: "3d", fit: "detector", camera, particle: null, side: "prediction", column: "" };
    this.opened = new Map();
    this.hidden = new Set();
    this.build();
    this.listen();
  }

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
        <select data-part="column" aria-label="colour particles by" title="colour particles by a column of their table"></select>
        <select data-part="view" aria-label="view"><option value="3d">3D</option>${Object.entries(Scene.VIEWS).filter(([, view]) => view).map(([key, view]) => `<option value="${key}">${view.name}</option>`).join("")}</select>
        ${choice("fit", "size of the picture", [["detector", "detector"], ["event", "event"]])}
        <button data-part="save" type="button" title="save the pictures as PNG files">PNG</button>
        <button data-part="vector" type="button" title="save the pictures as SVG files; points of 3D pictures are pixels in them">SVG</button>
        <button data-part="json" type="button" title="save what is drawn as JSON">JSON</button>
      </div>
      <div class="panels" data-part="panels">${EventDisplay.SIDES.map((side) => `
        <figure data-part="${side}-panel">
          <figcaption>${side === "truth" ? "truth" : "reconstruction"}</figcaption>
          <div class="picture" data-part="${side}" tabindex="0" role="img" aria-label="${side}; arrow keys turn it"></div>
          <button class="wake" type="button" data-wake="${side}">tap to turn</button>
          <div class="legend" data-part="${side}-legend"></div>
        </figure>`).join("")}
      </div>
      <div class="object" data-part="object" hidden></div>
      <p class="note"><span class="keys">Drag to turn; a click into a picture lets the wheel zoom. Keys: <kbd>←</kbd> <kbd>→</kbd> event, <kbd>1</kbd> to <kbd>8</kbd> colours, <kbd>v</kbd> view, <kbd>f</kbd> detector or event, <kbd>Esc</kbd> forget the particle; in a picture the arrows turn it. </span>A click on a particle says what is known of it; coloured by particle, it and its match stand out. A reconstructed object has the colour of the true one that it matches best. Crosses are vertices, open squares starts, diamonds ends. Mistakes: voxels of the wrong class, named “true → predicted” and in the colour of each side's class, and points that have none of the other side within 3 voxels.</p>`;
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
    this.find("column").addEventListener("change", (change) => this.set({ mode: "particle", column: change.target.value }));
    this.find("view").addEventListener("change", (change) => this.set({ view: change.target.value }));
    this.find("save").addEventListener("click", () => this.save("png"));
    this.find("vector").addEventListener("click", () => this.save("svg"));
    this.find("json").addEventListener("click", () => this.saveData());
    for (const part of ["mode", "fit"]) {
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
    const stop = (event) => { if (!panel.classList.contains("awake")) event.stopImmediatePropagation(); };
    for (const kind of ["wheel", "touchstart", "touchmove"]) picture.addEventListener(kind, stop, { capture: true, passive: true });
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
    if (inside && press.key.startsWith("Arrow")) this.turn(press.key);
    else if (press.key === "ArrowLeft") this.go(this.state.event - 1);
    else if (press.key === "ArrowRight") this.go(this.state.event + 1);
    else if (number >= 1 && number <= EventDisplay.MODES.length) this.set({ mode: EventDisplay.MODES[number - 1] });
    else if (press.key === "f") this.set({ fit: this.state.fit === "event" ? "detector" : "event" });
    else if (press.key === "v") {
      const views = Object.keys(Scene.VIEWS);
      this.set({ view: views[(views.indexOf(this.state.view) + 1) % views.length] });
    } else if (press.key === "Escape") this.set({ particle: null });
    else return;
    press.preventDefault();
  }

  // Turn the camera about the vertical, or lift it.
  turn(key) {
    const { eye } = this.state.camera;
    const reach = Math.hypot(eye.x, eye.z), angle = Math.atan2(eye.x, eye.z) + ({ ArrowLeft: -0.12, ArrowRight: 0.12 }[key] || 0);
    const y = eye.y + ({ ArrowUp: 0.12, ArrowDown: -0.12 }[key] || 0);
    this.state.camera = { ...this.state.camera, eye: { x: reach * Math.sin(angle), y, z: reach * Math.cos(angle) } };
    for (const side of EventDisplay.SIDES) {
      if (this.find(side).linked && this.state.view === "3d") Plotly.relayout(this.find(side), { "scene.camera": this.state.camera });
    }
  }

  set(change) {
    if ("mode" in change || "event" in change) this.hidden.clear();
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
    const single = !event.sides.truth;
    this.find("panels").classList.toggle("single", single);
    this.find("truth-panel").hidden = single;
    this.find("event").value = String(number);
    this.find("view").value = this.state.view;
    this.find("view").hidden = event.dimension === 2;
    for (const part of ["mode", "fit"]) {
      for (const button of this.find(part).children) {
        button.setAttribute("aria-pressed", String(button.dataset.value === this.state[part]));
        if (button.dataset.value === "mistakes" && part === "mode") button.disabled = single;
      }
    }
    this.columns(event);
    const thinned = event.num_drawn < event.num_voxels ? `${event.num_drawn.toLocaleString("en")} of ` : "";
    this.find("note").textContent = `${thinned}${event.num_voxels.toLocaleString("en")} voxels, ${event.energy_mev} MeV deposited${event.set_aside ? `; set aside by ${event.set_aside}` : ""}`;
    for (const side of EventDisplay.SIDES) await this.drawSide(event, side);
    this.describe(event);
    this.source.shown?.(this.state, event);
    this.root.dataset.drawn = `${number}/${this.state.mode}/${this.state.view}`;
  }

  // The columns that particles of either side have, to colour them by.
  columns(event) {
    const rows = Object.values(event.sides).flatMap((side) => side.particles.slice(0, 1).map((particle) => particle.row));
    const names = [...new Set(rows.flatMap((row) => Object.keys(row).filter((name) => !Array.isArray(row[name]))))];
    if (this.state.column && !names.includes(this.state.column)) names.push(this.state.column);
    this.find("column").replaceChildren(new Option("each particle", ""), ...names.map((name) => new Option(name, name)));
    this.find("column").value = this.state.column;
    this.find("column").hidden = this.state.mode !== "particle";
  }

  async drawSide(event, name) {
    const element = this.find(name), side = event.sides[name];
    if (!side) { Plotly.purge(element); element.linked = false; return; }
    const state = { ...this.state, particle: this.chosen(event, name), hidden: this.hidden };
    const traces = Scene.traces(event, side, state, this.words);
    element.rows = traces.map((trace) => trace.rows);
    const entries = traces.map((trace) => trace.entries ?? [{ name: trace.name, shade: trace.marker?.color ?? trace.line?.color }]);
    for (const trace of traces) { trace.visible = !this.hidden.has(trace.name); delete trace.rows; delete trace.entries; }
    const flat = traces[0]?.type === "scattergl";
    if (element.linked && element.flat !== flat) { Plotly.purge(element); element.linked = false; }
    element.flat = flat;
    await Plotly.react(element, traces, Scene.layout(event, this.state), EventDisplay.SETTINGS);
    if (!element.linked) { element.linked = true; this.link(element, name); }
    this.legend(name, entries.flat());
  }

  // The particle that was clicked, or on the other side its match; -1: it has none, null: none was clicked.
  chosen(event, name) {
    const { particle, side } = this.state;
    return particle === null || side === name ? particle : event.sides[side]?.particles[particle]?.match ?? -1;
  }

  // Turning one picture turns the other; a click asks for the particle.
  link(element, name) {
    const other = this.find(EventDisplay.SIDES.find((side) => side !== name));
    const follow = (change) => {
      const camera = change["scene.camera"];
      const ranges = Object.keys(change).some((key) => /^[xy]axis\.range/.test(key));
      if ((!camera && !ranges) || this.linking) return;
      if (camera) this.state.camera = camera;
      if (!other.linked) return;
      this.linking = true;
      Promise.resolve(Plotly.relayout(other, camera ? { "scene.camera": camera } : change)).finally(() => { this.linking = false; });
    };
    element.on("plotly_relayouting", follow);
    element.on("plotly_relayout", follow);
    element.on("plotly_click", (click) => {
      const { curveNumber, pointNumber } = click.points[0];
      const rows = element.rows[curveNumber];
      const row = rows === null ? pointNumber : rows?.[pointNumber];
      const particle = row === undefined ? -1 : this.current.sides[name].particle[row];
      if (particle >= 0) this.set({ particle, side: name });
    });
  }

  legend(name, entries) {
    const named = entries.filter((entry) => !["active volumes", "beam", "energy"].includes(entry.name));
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

  // Flat pictures are saved as vectors; what WebGL draws in 3D is pixels in any file.
  picture(element, format) {
    const data = format === "svg" ? element.data.map((trace) => ({ ...trace, type: trace.type === "scattergl" ? "scatter" : trace.type })) : element.data;
    const ground = { paper_bgcolor: Scene.colour("panel"), plot_bgcolor: Scene.colour("panel") };
    return [{ data, layout: { ...element.layout, ...ground } }, { format, width: 1400, height: 1000, scale: format === "svg" ? 1 : 2 }];
  }

  async save(format) {
    for (const side of EventDisplay.SIDES) {
      const element = this.find(side);
      if (!element.linked) continue;
      const [figure, options] = this.picture(element, format);
      await Plotly.downloadImage(figure, { ...options, filename: `${this.fileName()}_${side}` });
    }
  }

  // Both sides in one SVG, with their names above them.
  async vector() {
    const sides = EventDisplay.SIDES.filter((side) => this.find(side).linked);
    const parts = await Promise.all(sides.map(async (side, number) => {
      const url = await Plotly.toImage(...this.picture(this.find(side), "svg"));
      const svg = decodeURIComponent(url.slice(url.indexOf(",") + 1)).replace("<svg", `<svg x="${1400 * number}" y="40"`);
      return `<text x="${1400 * number + 20}" y="28" font-size="22" font-family="sans-serif" fill="${Scene.colour("ink")}">${side === "truth" ? "truth" : "reconstruction"}</text>${svg}`;
    }));
    const width = 1400 * sides.length;
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="1040" viewBox="0 0 ${width} 1040"><rect width="100%" height="100%" fill="${Scene.colour("panel")}"/>${parts.join("")}</svg>`;
  }

  async saveData() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(await this.source.load(this.state.event))], { type: "application/json" }));
    link.download = `${this.fileName()}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  fileName() { return `${this.current.file_uid}_${this.current.entry}`.replace(/[^\w.-]+/g, "_"); }
}
