"use strict";
// A picture of one side of an event that turns, moves and zooms: by mouse, fingers, wheel or keys.
// `changed(aim)` hears of a new camera or window, `asked(row)` of the voxel that was clicked; -1: none.
class Picture {
  static CAMERA = { eye: [-1.9, 0.87, -1.09], center: [0, -0.06, 0] };
  static NEAR_PIXELS = 7;

  constructor(element, changed, asked) {
    Object.assign(this, { element, changed, asked, pressed: new Map(), traces: [] });
    element.picture = this;
    this.raster = new Pens.Raster();
    [this.back, this.middle, this.front] = ["back", "voxels", "front"].map(() => {
      const canvas = document.createElement("canvas");
      element.append(canvas);
      return canvas.getContext("2d");
    });
    this.label = document.createElement("div");
    this.label.className = "hover";
    this.label.hidden = true;
    element.append(this.label);
    new ResizeObserver(() => this.redraw()).observe(element);
    for (const kind of ["down", "move", "up", "cancel", "leave"]) element.addEventListener(`pointer${kind}`, (event) => this[kind](event));
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  // What is drawn: the event's places, traces of `Scene`, and from where: `aim` has `camera`, `pan` and `zoom`.
  show(event, traces, aim, extent, view) {
    Object.assign(this, { event, traces, aim, extent, view });
    this.redraw();
  }

  look(aim) {
    this.aim = aim;
    this.redraw();
  }

  clear() {
    this.traces = [];
    this.event = null;
    this.redraw();
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.draw();
    });
  }

  lens(width, height) {
    const { extent, view, aim } = this;
    return view ? Lens.flat(extent, view, aim, width, height) : Lens.perspective(extent, aim.camera, width, height);
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const { canvas } of [this.back, this.middle, this.front]) {
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    }
    const pens = [this.back, this.front].map((context) => {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      return new Pens.CanvasPen(context);
    });
    const started = performance.now();
    this.raster.resize(this.middle.canvas.width, this.middle.canvas.height);
    this.raster.clear();
    if (this.event) this.paint(width, height, ...pens, (trace, placed, lens) => this.raster.squares(placed, lens, ratio, trace));
    this.middle.putImageData(this.raster.image, 0, 0);
    this.tookMs = performance.now() - started;
    this.num = (this.num || 0) + 1;
  }

  // Everything in its order: axes and walls, voxels, and what must not be hidden by them.
  paint(width, height, back, front, squares) {
    const { event, view, traces } = this, lens = this.lens(width, height), num = event.position[0].length;
    const style = { ink: Scene.colour("muted"), line: Scene.colour("muted"), grid: Scene.colour("grid") };
    if (this.placed?.x.length !== num) this.placed = { x: new Float32Array(num), y: new Float32Array(num), depth: new Float32Array(num) };
    Lens.all(lens, event.position, this.placed);
    this.seen = lens;
    if (view) Axes.flat(back, lens, view, width, height, style); else Axes.boxed(back, lens, this.extent, style);
    const visible = traces.filter((trace) => trace.visible !== false);
    for (const trace of visible) if (trace.kind === "lines") this.lines(trace.behind ? back : front, lens, trace);
    const clouds = visible.filter((trace) => trace.kind === "voxels");
    for (const solid of [true, false]) {
      for (const trace of clouds) if ((trace.opacity === 1) === solid) squares(trace, this.placed, lens);
    }
    for (const trace of visible) if (trace.kind === "marks") this.marks(front, lens, trace);
    const scaled = clouds.find((trace) => trace.scale);
    if (scaled) Axes.scale(front, scaled.scale, width, height, style);
  }

  lines(pen, lens, { at, colour, width, opacity, text }) {
    let part = [];
    const end = () => { if (part.length > 1) pen.line(part, { colour, width, opacity }); part = []; };
    at[0].forEach((x, i) => {
      const point = x === null ? null : Lens.at(lens, [x, at[1][i], at[2][i]]);
      if (point) part.push(point); else end();
    });
    end();
    if (text) {
      const point = Lens.at(lens, text.at);
      if (point) pen.text(point[0], point[1] + 13, text.words, { colour, size: 12 });
    }
  }

  marks(pen, lens, { at, colour, symbol, size }) {
    const corners = symbol === "diamond" ? [[0, -1], [1, 0], [0, 1], [-1, 0]] : [[-1, -1], [1, -1], [1, 1], [-1, 1]];
    at[0].forEach((x, i) => {
      const point = Lens.at(lens, [x, at[1][i], at[2][i]]);
      if (!point) return;
      const shape = corners.map(([right, down]) => [point[0] + right * size / 2, point[1] + down * size / 2]);
      if (symbol === "diamond") pen.polygon(shape, { fill: colour, colour: Scene.colour("ink"), width: 1 });
      else pen.polygon(shape, { colour, width: 2 });
    });
  }

  // The same with other pens: SVG of vectors only.
  svg(width, height) {
    const [back, middle, front] = [0, 1, 2].map(() => new Pens.SvgPen()), found = [];
    this.paint(width, height, back, front, (trace, placed, lens) => {
      const num = trace.rows ? trace.rows.length : placed.x.length;
      for (let k = 0; k < num; k += 1) {
        const i = trace.rows ? trace.rows[k] : k, depth = placed.depth[i];
        if (depth > lens.near) found.push([depth - (trace.before || 0), placed.x[i], placed.y[i], Math.max(trace.size, trace.cm * lens.perCm * lens.focus / depth), Pens.css(trace.colours ? trace.colours[k] : trace.colour), trace.opacity]);
      }
    });
    found.sort((a, b) => b[0] - a[0]);
    for (const [, ...square] of found) middle.square(...square);
    this.redraw();
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${back}${middle}${front}</svg>`;
  }

  png(width, height, ratio) {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d"), raster = new Pens.Raster();
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    const layers = [0, 1].map(() => {
      const layer = document.createElement("canvas");
      Object.assign(layer, { width: canvas.width, height: canvas.height });
      layer.getContext("2d").scale(ratio, ratio);
      return layer;
    });
    raster.resize(canvas.width, canvas.height);
    raster.clear();
    this.paint(width, height, ...layers.map((layer) => new Pens.CanvasPen(layer.getContext("2d"))), (trace, placed, lens) => raster.squares(placed, lens, ratio, trace));
    const cloud = document.createElement("canvas");
    Object.assign(cloud, { width: canvas.width, height: canvas.height });
    cloud.getContext("2d").putImageData(raster.image, 0, 0);
    context.fillStyle = Scene.colour("panel");
    context.fillRect(0, 0, canvas.width, canvas.height);
    for (const layer of [layers[0], cloud, layers[1]]) context.drawImage(layer, 0, 0);
    this.redraw();
    return new Promise((ready) => canvas.toBlob(ready, "image/png"));
  }

  // The voxel at a place of the picture [pixels], of those shown the foremost; with its trace.
  voxel(x, y) {
    let best = null;
    for (const trace of this.traces) {
      if (trace.kind !== "voxels" || trace.visible === false) continue;
      const num = trace.rows ? trace.rows.length : this.placed.x.length;
      for (let k = 0; k < num; k += 1) {
        const row = trace.rows ? trace.rows[k] : k, depth = this.placed.depth[row];
        const far = Math.max(Math.abs(this.placed.x[row] - x), Math.abs(this.placed.y[row] - y));
        // one that is under the pointer goes before others, and then the foremost
        const rank = Math.max(2, far) + depth;
        if (far <= Picture.NEAR_PIXELS && depth > this.seen.near && !(best && rank >= best.rank)) best = { row, trace, rank };
      }
    }
    return best;
  }

  mark(x, y) {
    for (const trace of this.traces) {
      if (trace.kind !== "marks" || trace.visible === false) continue;
      const hit = trace.at[0].findIndex((_, i) => {
        const point = Lens.at(this.seen, trace.at.map((axis) => axis[i]));
        return point && Math.hypot(point[0] - x, point[1] - y) < Picture.NEAR_PIXELS;
      });
      if (hit >= 0) return [trace.name, trace.at.map((axis) => axis[hit])];
    }
    return null;
  }

  get awake() { return this.element.parentElement.classList.contains("awake"); }

  place(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    this.label.hidden = true;
    this.pressed.set(event.pointerId, this.place(event));
    this.still = this.pressed.size === 1;
    if (event.pointerType === "mouse" || this.awake) this.element.setPointerCapture?.(event.pointerId);
  }

  move(event) {
    const place = this.place(event), before = this.pressed.get(event.pointerId);
    if (!before) { if (event.pointerType === "mouse") this.hover(place); return; }
    if (this.still && Math.hypot(place[0] - before[0], place[1] - before[1]) < 4) return;
    this.still = false;
    if (event.pointerType !== "mouse" && !this.awake) return;
    const [dx, dy] = [place[0] - before[0], place[1] - before[1]];
    if (this.pressed.size === 2) {
      const [other] = [...this.pressed].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const distance = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      this.shift(dx / 2, dy / 2);
      this.zoom(distance(place) / distance(before), [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2]);
    } else if (this.view || event.shiftKey || event.buttons === 2) this.shift(dx, dy);
    else this.turn(-0.008 * dx, 0.008 * dy);
    this.pressed.set(event.pointerId, place);
  }

  up(event) {
    const place = this.pressed.get(event.pointerId);
    this.pressed.delete(event.pointerId);
    if (!place || !this.still || !this.event) return;
    this.still = false;
    const found = this.voxel(...place);
    this.hover(place);
    if (found) this.asked(found.row);
  }

  cancel(event) { this.pressed.delete(event.pointerId); }

  leave() { if (!this.pressed.size) this.label.hidden = true; }

  wheel(event) {
    if (!this.awake) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), this.place(event));
  }

  hover(place) {
    const near = this.event && this.placed && (this.mark(...place) || this.voxel(...place));
    this.label.hidden = !near;
    if (!near) return;
    const at = Array.isArray(near) ? near[1] : this.event.position.map((axis) => axis[near.row]);
    const words = this.view ? [Lens.dot(this.view.right, at), Lens.dot(this.view.up, at)].map((value) => value.toFixed(1)).join(", ") : ["x", "y", "z"].map((name, axis) => `${name} ${at[axis].toFixed(1)}`).join(", ");
    const lines = Array.isArray(near) ? [near[0]] : near.trace.say(near.row);
    this.label.replaceChildren(...[...lines, `${words} cm`].map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    const { clientWidth, clientHeight } = this.element;
    this.label.style.left = `${Math.max(0, Math.min(place[0] + 14, clientWidth - this.label.offsetWidth - 4))}px`;
    this.label.style.top = `${Math.max(0, Math.min(place[1] + 14, clientHeight - this.label.offsetHeight - 4))}px`;
  }

  // Turn by angles [radians], move by pixels, enlarge about a place: others hear of it, and show the same.
  turn(sideways, upwards) {
    if (!this.view) this.becomes({ camera: Lens.turned(this.aim.camera, sideways, upwards) });
  }

  shift(dx, dy) {
    const { aim, seen } = this;
    if (!this.view) this.becomes({ camera: Lens.shifted(aim.camera, seen, dx, dy) });
    else this.becomes({ pan: [aim.pan[0] - dx / seen.focus, aim.pan[1] + dy / seen.focus] });
  }

  zoom(factor, place) {
    const { aim, seen } = this;
    if (!this.view) { this.becomes({ camera: Lens.nearer(aim.camera, factor) }); return; }
    const zoom = Math.max(0.3, Math.min(200, aim.zoom * factor)), by = 1 - aim.zoom / zoom;
    const at = place ? [(place[0] - seen.x) / seen.focus, (seen.y - place[1]) / seen.focus] : [0, 0];
    this.becomes({ zoom, pan: [aim.pan[0] + at[0] * by, aim.pan[1] + at[1] * by] });
  }

  becomes(change) {
    this.aim = { ...this.aim, ...change };
    this.redraw();
    this.changed(this.aim);
  }
}
