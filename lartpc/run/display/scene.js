"use strict";
// What is drawn of an event: its data unpacked, and the traces of one side in each mode and view.
const Scene = (() => {
  // Told apart by the colour-blind as far as so many can be; the legend names every object besides.
  const OBJECTS = [
    "#E69F00", "#3A96DB", "#00A07A", "#CC79A7", "#D55E00", "#8F7BE0", "#A6A12B", "#B0487C",
    "#3CB8B0", "#7A5C3A", "#6E93B8", "#E0705E", "#5E8C31", "#9C4FC0", "#C9A36A", "#2F5FA8",
  ];
  const GREY = "#9aa3ad";
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Views: the axes that are drawn to the right and upwards, as weights of x, y and z. Wires stand at an angle to y.
  const DEGREE = Math.PI / 180;
  const wires = (angle) => [0, -Math.sin(angle * DEGREE), Math.cos(angle * DEGREE)];
  const VIEWS = {
    "3d": null,
    "zy": { name: "side (z, y)", right: [0, 0, 1], up: [0, 1, 0], labels: ["z, beam [cm]", "y [cm]"] },
    "zx": { name: "top (z, x)", right: [0, 0, 1], up: [1, 0, 0], labels: ["z, beam [cm]", "x, drift [cm]"] },
    "xy": { name: "front (x, y)", right: [1, 0, 0], up: [0, 1, 0], labels: ["x, drift [cm]", "y [cm]"] },
    "u": { name: "wires at +60°", right: wires(60), up: [1, 0, 0], labels: ["across wires at +60° [cm]", "x, drift [cm]"] },
    "v": { name: "wires at −60°", right: wires(-60), up: [1, 0, 0], labels: ["across wires at −60° [cm]", "x, drift [cm]"] },
  };
  const FLAT = { right: [0, 1, 0], up: [1, 0, 0], labels: ["across the wires [cm]", "drift [cm]"] };

  function unpack(text, kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new kind(bytes.buffer);
  }

  function open(event) {
    const coord = unpack(event.coord, Int16Array);
    const num = event.num_drawn;
    const position = [0, 1, 2].map((axis) => Float32Array.from(
      coord.subarray(axis * num, (axis + 1) * num),
      (value) => event.origin_cm[axis] + (value + 0.5) * event.pitch_cm[axis]));
    const sides = {};
    for (const [name, side] of Object.entries(event.sides)) {
      sides[name] = { ...side };
      for (const [key, kind] of Object.entries({ semantic: Int8Array, fragment: Int16Array, particle: Int16Array, interaction: Int16Array })) {
        sides[name][key] = unpack(side[key], kind);
      }
    }
    const energy = Float32Array.from(unpack(event.energy_kev, Uint16Array), (value) => value / 1000);
    return { ...event, position, energy, sides, extent: { detector: withMargin(around([event.box_cm])), event: cube(position) } };
  }

  const around = (boxes) => [0, 1, 2].map((axis) => [
    Math.min(...boxes.map(([low]) => low[axis])), Math.max(...boxes.map(([, high]) => high[axis]))]);

  // Room for the walls, and below them for the beam.
  const withMargin = (ends) => ends.map(([low, high], axis) => {
    const margin = 0.02 * (high - low);
    return [low - (axis === 1 ? 4 : 1) * margin, high + margin];
  });

  // A cube around the voxels.
  function cube(position) {
    const ends = position.map((values) => {
      let low = Infinity, high = -Infinity;
      for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
      return low <= high ? [low, high] : [-1, 1];
    });
    const half = Math.max(2, ...ends.map(([low, high]) => (high - low) / 2)) * 1.06;
    return ends.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]);
  }

  const viewOf = (event, name) => (event.dimension === 2 ? FLAT : VIEWS[name]);

  // Squares of voxels: `rows` of the event (null: all), of one colour or one each; `say(row)` is what the pointer is told.
  function voxels(event, rows, name, look, extra = {}) {
    const { colour = GREY, colours, opacity = 1, size = 2.8 } = look;
    return {
      kind: "voxels", name, rows, colours, opacity, size, shade: colour, colour: Pens.pack(colour), cm: Math.max(...event.pitch_cm.slice(0, event.dimension)),
      say: (row) => [name, `${event.energy[row].toFixed(3)} MeV`], ...extra,
    };
  }

  function byLabel(labels) {
    const rows = new Map();
    labels.forEach((label, row) => {
      if (!rows.has(label)) rows.set(label, []);
      rows.get(label).push(row);
    });
    return [...rows.entries()].sort(([a], [b]) => (a < 0) - (b < 0) || a - b);
  }

  // Lines, since fonts without the glyph of a cross show a box in its place.
  function crosses(event, name, position, width) {
    const arm = Math.max(...event.pitch_cm) * 4;
    const at = [[], [], []];
    position[0].forEach((_, row) => [0, 1, 2].forEach((axis) => {
      if (event.dimension === 2 && axis === 2) return;
      for (const step of [-arm, arm, null]) {
        [0, 1, 2].forEach((k) => at[k].push(step === null ? null : (position[k][row]) + (k === axis ? step : 0)));
      }
    }));
    return { kind: "lines", name, at, width, colour: colour("ink") };
  }

  function pointTraces(side, words) {
    const traces = [];
    const { position, semantic, kind } = side.points;
    words.semantic.names.forEach((name, code) => words.kinds.forEach((kindName, kindCode) => {
      const rows = semantic.map((_, row) => row).filter((row) => semantic[row] === code && kind[row] === kindCode);
      if (!rows.length) return;
      traces.push({
        kind: "marks", name: `${name.replace("_", " ")} ${kindName}`, at: [0, 1, 2].map((axis) => rows.map((row) => position[axis][row])),
        size: kindCode ? 9 : 8, symbol: kindCode ? "diamond" : "square", colour: words.semantic.colours[code],
      });
    }));
    return traces;
  }

  // What one side says of voxels that the other calls something else, and its points that the other lacks.
  function mistakeTraces(event, side, all) {
    const { truth, prediction } = event.sides;
    const words = all.semantic.names.map((name) => name.replace("_", " "));
    const right = [], wrong = new Map();
    prediction.semantic.forEach((label, row) => {
      const wanted = truth.semantic[row];
      if (wanted === label || wanted < 0) { right.push(row); return; }
      const name = `${words[wanted]} → ${words[label] ?? "none"}`;
      if (!wrong.has(name)) wrong.set(name, []);
      wrong.get(name).push(row);
    });
    const found = [voxels(event, right, "right", { opacity: 0.25, size: 1.8 })];
    for (const [name, rows] of [...wrong.entries()].sort((a, b) => b[1].length - a[1].length)) {
      const shade = all.semantic.colours[side.semantic[rows[0]]] || GREY;
      found.push(voxels(event, rows, `${name} (${rows.length})`, { colour: shade, size: 3.6 }));
    }
    const alone = side.points.alone.map((_, row) => row).filter((row) => side.points.alone[row]);
    if (alone.length) {
      const at = side.points.position.map((axis) => alone.map((row) => axis[row]));
      found.push(crosses(event, side === truth ? "lost point" : "false point", at, 3));
    }
    return found;
  }

  // Of a copy: sorting would mix up the voxels.
  function quantile(values, share) {
    const sorted = Float32Array.from(values).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 1;
  }

  // Objects by colour, one trace for each, since of hundreds of traces each costs; `entries` are what the legend names.
  function objectTraces(event, side, mode, state) {
    const objects = side[`${mode}s`], chosen = mode === "particle" ? state.particle : null;
    const groups = new Map();
    side[mode].forEach((label, row) => {
      const key = label < 0 ? -1 : label === chosen ? OBJECTS.length : objects[label].colour % OBJECTS.length;
      if (!groups.has(key)) groups.set(key, { rows: [], labels: new Set() });
      groups.get(key).labels.add(label);
      if (!state.hidden.has(label < 0 ? "none" : objects[label].name)) groups.get(key).rows.push(row);
    });
    return [...groups.entries()].sort(([a], [b]) => (a < 0) - (b < 0) || a - b).map(([key, { rows, labels }]) => {
      if (key < 0) return voxels(event, rows, "none", { opacity: 0.3, size: 1.8 });
      const stands = key === OBJECTS.length;
      const shade = OBJECTS[stands ? objects[chosen].colour % OBJECTS.length : key];
      return {
        ...voxels(event, rows, `${mode}s`, { colour: shade, opacity: chosen !== null && !stands ? 0.15 : 1, size: stands ? 3.6 : 2.8 }),
        say: (row) => [objects[side[mode][row]].name, `${event.energy[row].toFixed(3)} MeV`, ...told(objects[side[mode][row]], state.told)],
        entries: [...labels].map((label) => ({ name: objects[label].name, order: label, shade })),
      };
    });
  }

  // The columns of an object's row that the reader wants to be told.
  const word = (value) => (value === null ? "unknown" : Array.isArray(value) ? value.join(", ") : String(value));
  const told = ({ row }, names) => names.filter((name) => row && name in row).map((name) => `${name}: ${word(row[name])}`);

  // Objects by a column of their table: a scale for numbers, which both sides share, a colour for each word.
  function columnTraces(event, side, mode, state) {
    const name = state.column, valueOf = (object) => object.row?.[name] ?? null, objects = side[`${mode}s`];
    const all = Object.values(event.sides).flatMap((one) => one[`${mode}s`].map(valueOf)).filter((value) => value !== null);
    const isNumber = all.length > 0 && all.every((value) => typeof value === "number");
    const groups = new Map();
    side[mode].forEach((label, row) => {
      const value = label < 0 ? null : valueOf(objects[label]);
      const key = value === null ? null : isNumber ? name : String(value);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    });
    const words = [...new Set(all.map(String))].sort();
    return [...groups.entries()].sort(([a], [b]) => (a === null) - (b === null) || String(a).localeCompare(String(b))).map(([key, rows]) => {
      if (key === null) return voxels(event, rows, "unknown", { opacity: 0.3, size: 1.8 });
      const scale = isNumber ? { name, low: Math.min(...all), high: Math.max(...all) } : undefined;
      const look = isNumber ? { colours: Axes.shades(rows.map((row) => valueOf(objects[side[mode][row]])), scale) } : { colour: OBJECTS[words.indexOf(key) % OBJECTS.length] };
      return {
        ...voxels(event, rows, key, look), scale,
        say: (row) => [`${name}: ${word(valueOf(objects[side[mode][row]]))}`, objects[side[mode][row]].name, ...told(objects[side[mode][row]], state.told)],
      };
    });
  }

  // Where particles start, and where they go: a line of a tenth of the picture. The truth states momenta at creation.
  function directions(event, side, state) {
    const [low, high] = event.extent[state.fit][1], at = [[], [], []];
    for (const { row } of side.particles) {
      const start = ["x", "y", "z"].map((axis) => row[`start_${axis}_cm`]);
      const along = ["x", "y", "z"].map((axis) => row[`direction_${axis}`] ?? row[`momentum_initial_${axis}_mev_c`]);
      const size = Math.hypot(...along);
      if (!(size > 0) || start.some((value) => typeof value !== "number")) continue;
      at.forEach((values, axis) => values.push(start[axis], start[axis] + 0.1 * (high - low) * along[axis] / size, null));
    }
    return at[0].length ? [{ kind: "lines", name: "direction", at, width: 1.8, colour: colour("accent") }] : [];
  }

  function content(event, side, state, words) {
    // Without truth there are no mistakes to show.
    const mode = state.mode === "mistakes" && !event.sides.truth ? "semantic" : state.mode;
    const vertices = () => (side.vertices[0]?.length ? [crosses(event, "vertex", side.vertices, 3)] : []);
    switch (mode) {
      case "mistakes":
        return mistakeTraces(event, side, words);
      case "energy": {
        const scale = { name: "deposited energy [MeV]", low: 0, high: quantile(event.energy, 0.98) };
        return [voxels(event, null, "energy", { colours: Axes.shades(event.energy, scale) }, { scale, say: (row) => [`${event.energy[row].toFixed(3)} MeV`] })];
      }
      case "semantic":
        return byLabel(side.semantic).map(([label, rows]) => voxels(
          event, rows, label === -2 ? "ghost" : label < 0 ? "none" : words.semantic.names[label].replace("_", " "),
          label < 0 || words.semantic.names[label] === "low_energy"
            ? { opacity: 0.5, size: 1.8 }
            : { colour: words.semantic.colours[label] }));
      case "points":
        return [
          voxels(event, null, "voxels", { opacity: 0.25, size: 1.8 }),
          ...pointTraces(side, words), ...directions(event, side, state), ...vertices(),
        ];
      case "vertices":
        return [...objectTraces(event, side, "interaction", state).map((trace) => ({ ...trace, opacity: 0.35, size: 2 })), ...vertices()];
      default:
        if (state.column && columned(event, mode).includes(state.column)) return [...columnTraces(event, side, mode, state), ...vertices()];
        return [...objectTraces(event, side, mode, state), ...(mode === "fragment" ? [] : vertices())];
    }
  }

  // The columns that objects of either side have.
  function columned(event, mode) {
    const rows = Object.values(event.sides).flatMap((side) => (side[`${mode}s`] ?? []).slice(0, 1).map((object) => object.row ?? {}));
    return [...new Set(rows.flatMap((row) => Object.keys(row)))];
  }

  // Edges of boxes as one line that is broken between them.
  function edges(boxes) {
    const at = [[], [], []];
    const put = (corner) => [0, 1, 2].forEach((axis) => at[axis].push(corner && corner[axis]));
    for (const ends of boxes) {
      const corner = (bits) => [0, 1, 2].map((axis) => ends[(bits >> axis) & 1][axis]);
      for (let from = 0; from < 8; from += 1) {
        for (const bit of [1, 2, 4]) {
          if (!(from & bit)) { put(corner(from)); put(corner(from | bit)); put(null); }
        }
      }
    }
    return at;
  }

  function detector(event, view) {
    const walls = { kind: "lines", name: "active volumes", at: edges(event.volumes_cm), behind: true, colour: colour("muted"), width: 1, opacity: 0.6 };
    if (view || event.dimension === 2) return [walls];
    // the beam goes along z: an arrow below the detector
    const [[x0, x1], [y0, y1], [z0, z1]] = around(event.volumes_cm);
    const middle = (x0 + x1) / 2, below = y0 - 0.04 * (y1 - y0), head = 0.03 * (z1 - z0);
    const beam = {
      kind: "lines", name: "beam", behind: true, colour: colour("accent"), width: 2, text: { at: [middle, below, (z0 + z1) / 2], words: "beam" },
      at: [[middle, middle, middle, middle, middle], [below, below, below + head, below, below - head], [z0, z1, z1 - 2 * head, z1, z1 - 2 * head]],
    };
    return [walls, beam];
  }

  // Both sides in one picture: the truth as larger squares behind those of the reconstruction, whose points stand out.
  function together(event, state, words) {
    const hidden = (side) => new Set([...state.hidden].filter((name) => name.endsWith(`, ${side}`)).map((name) => name.slice(0, -side.length - 2)));
    const [truth, prediction] = [["truth", "truth"], ["prediction", "reconstruction"]].map(([name, side]) => content(
      event, event.sides[name], { ...state, particle: state.chosen[name], hidden: hidden(side) }, words));
    const named = (trace, side) => ({
      ...trace, name: `${trace.name}, ${side}`, entries: trace.entries?.map((entry) => ({ ...entry, name: `${entry.name}, ${side}` })),
      say: trace.say && ((row) => [side, ...trace.say(row)]),
    });
    const step = Math.max(...event.pitch_cm) * 2 / Math.max(...event.extent[state.fit].map(([low, high]) => high - low));
    return [
      ...truth.map((trace) => named({ ...trace, size: trace.size * (trace.kind === "voxels" ? 2.6 : 1.5), width: trace.width * 2, colour: trace.kind === "lines" ? GREY : trace.colour, cm: trace.cm * 1.8 }, "truth")),
      ...prediction.map((trace) => named({ ...trace, before: step }, "reconstruction")),
    ];
  }

  function traces(event, side, state, words) {
    const view = viewOf(event, state.view);
    const found = side ? content(event, side, state, words) : together(event, state, words);
    return [...found, ...detector(event, view)];
  }

  return { GREY, OBJECTS, VIEWS, colour, columned, open, traces, viewOf };
})();
