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
  const dot = (weights, position, row) => weights[0] * position[0][row] + weights[1] * position[1][row] + weights[2] * position[2][row];

  // Points (three lists) as x, y and z of a trace, or as the two coordinates of a view.
  function placed(view, position) {
    if (!view) return { type: "scatter3d", x: position[0], y: position[1], z: position[2] };
    const along = (weights) => Float32Array.from(position[0], (_, row) => dot(weights, position, row));
    return { type: "scattergl", x: along(view.right), y: along(view.up) };
  }

  const where = (view) => (view ? "%{x:.1f}, %{y:.1f} cm" : "x %{x:.1f}, y %{y:.1f}, z %{z:.1f} cm");

  // Squares: a circle is some 20 triangles in 3D, and 200,000 of them take seconds to draw without a graphics card. They fill more of their size.
  function voxels(event, view, rows, name, marker, extra = {}) {
    const pick = (values) => (rows ? Float32Array.from(rows, (row) => values[row]) : values);
    return {
      ...placed(view, event.position.map(pick)), mode: "markers", name, rows,
      customdata: pick(event.energy),
      hovertemplate: `${where(view)}<br>%{customdata:.3f} MeV<extra>${name}</extra>`,
      marker: { symbol: "square", line: { width: 0 }, ...marker, size: (marker.size || 2.2) * (view ? 1.6 : 0.55) }, ...extra,
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

  function markers(view, name, position, marker) {
    return {
      ...placed(view, position), mode: "markers", name, marker, rows: [],
      hovertemplate: `${where(view)}<extra>${name}</extra>`,
    };
  }

  // Lines, since fonts without the glyph of a cross show a box in its place.
  function crosses(event, view, name, position, width) {
    const arm = Math.max(...event.pitch_cm) * 4;
    const line = [[], [], []];
    position[0].forEach((_, row) => [0, 1, 2].forEach((axis) => {
      if (event.dimension === 2 && axis === 2) return;
      for (const step of [-arm, arm, null]) {
        [0, 1, 2].forEach((k) => line[k].push(step === null ? null : position[k][row] + (k === axis ? step : 0)));
      }
    }));
    const drawn = view
      ? { type: "scattergl", x: line[0].map((v, i) => (v === null ? null : dot(view.right, line, i))), y: line[0].map((v, i) => (v === null ? null : dot(view.up, line, i))) }
      : { type: "scatter3d", x: line[0], y: line[1], z: line[2] };
    return { ...drawn, mode: "lines", name, rows: [], line: { color: colour("ink"), width }, hovertemplate: `${where(view)}<extra>${name}</extra>` };
  }

  function pointTraces(event, view, side, words) {
    const traces = [];
    const { position, semantic, kind } = side.points;
    words.semantic.names.forEach((name, code) => words.kinds.forEach((kindName, kindCode) => {
      const rows = semantic.map((_, row) => row).filter((row) => semantic[row] === code && kind[row] === kindCode);
      if (!rows.length) return;
      traces.push(markers(view, `${name.replace("_", " ")} ${kindName}`, position.map((axis) => rows.map((row) => axis[row])), {
        size: view ? 9 : 6, symbol: kindCode ? "diamond" : "square-open", color: words.semantic.colours[code],
        line: { width: kindCode ? 1 : 3, color: kindCode ? colour("ink") : words.semantic.colours[code] },
      }));
    }));
    return traces;
  }

  // What one side says of voxels that the other calls something else, and its points that the other lacks.
  function mistakeTraces(event, view, side, all) {
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
    const found = [voxels(event, view, right, "right", { color: GREY, opacity: 0.25, size: 1.6 })];
    for (const [name, rows] of [...wrong.entries()].sort((a, b) => b[1].length - a[1].length)) {
      const shade = all.semantic.colours[side.semantic[rows[0]]] || GREY;
      found.push(voxels(event, view, rows, `${name} (${rows.length})`, { color: shade, size: 3 }));
    }
    const alone = side.points.alone.map((_, row) => row).filter((row) => side.points.alone[row]);
    if (alone.length) {
      const at = side.points.position.map((axis) => alone.map((row) => axis[row]));
      found.push(crosses(event, view, side === truth ? "lost point" : "false point", at, 3));
    }
    return found;
  }

  // Of a copy: sorting would mix up the voxels.
  function quantile(values, share) {
    const sorted = Float32Array.from(values).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 1;
  }

  // Objects by colour, one trace for each, since hundreds of traces take minutes; `entries` are what the legend names.
  function objectTraces(event, view, side, mode, state) {
    const objects = side[`${mode}s`], chosen = mode === "particle" ? state.particle : null;
    const groups = new Map();
    side[mode].forEach((label, row) => {
      const key = label < 0 ? -1 : label === chosen ? OBJECTS.length : objects[label].colour % OBJECTS.length;
      if (!groups.has(key)) groups.set(key, { rows: [], labels: new Set() });
      groups.get(key).labels.add(label);
      if (!state.hidden.has(label < 0 ? "none" : objects[label].name)) groups.get(key).rows.push(row);
    });
    return [...groups.entries()].sort(([a], [b]) => (a < 0) - (b < 0) || a - b).map(([key, { rows, labels }]) => {
      if (key < 0) return voxels(event, view, rows, "none", { color: GREY, opacity: 0.3, size: 1.6 });
      const stands = key === OBJECTS.length;
      const shade = OBJECTS[stands ? objects[chosen].colour % OBJECTS.length : key];
      return {
        ...voxels(event, view, rows, `${mode}s`, { color: shade, opacity: chosen !== null && !stands ? 0.15 : 1, size: stands ? 3.2 : 2.2 }),
        text: rows.map((row) => objects[side[mode][row]].name), hovertemplate: `${where(view)}<br>%{customdata:.3f} MeV<extra>%{text}</extra>`,
        entries: [...labels].map((label) => ({ name: objects[label].name, order: label, shade })),
      };
    });
  }

  // Particles by a column of their table: a scale for numbers, which both sides share, a colour for each word.
  function columnTraces(event, view, side, state) {
    const name = state.column, valueOf = (particle) => particle.row[name] ?? null;
    const all = Object.values(event.sides).flatMap((one) => one.particles.map(valueOf)).filter((value) => value !== null);
    const isNumber = all.length > 0 && all.every((value) => typeof value === "number");
    const groups = new Map();
    side.particle.forEach((label, row) => {
      const value = label < 0 ? null : valueOf(side.particles[label]);
      const key = value === null ? null : isNumber ? name : String(value);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    });
    const words = [...new Set(all.map(String))].sort();
    return [...groups.entries()].sort(([a], [b]) => (a === null) - (b === null) || String(a).localeCompare(String(b))).map(([key, rows]) => {
      if (key === null) return voxels(event, view, rows, "unknown", { color: GREY, opacity: 0.3, size: 1.6 });
      const marker = isNumber ? {
        color: rows.map((row) => valueOf(side.particles[side.particle[row]])), colorscale: "Viridis", cmin: Math.min(...all), cmax: Math.max(...all), showscale: true,
        colorbar: { title: { text: name }, thickness: 10, len: 0.7, outlinewidth: 0, x: 1, xanchor: "right" },
      } : { color: OBJECTS[words.indexOf(key) % OBJECTS.length] };
      return {
        ...voxels(event, view, rows, key, marker), hovertemplate: `${where(view)}<br>${name}: %{text}<extra></extra>`,
        text: rows.map((row) => `${valueOf(side.particles[side.particle[row]])}, ${side.particles[side.particle[row]].name}`),
      };
    });
  }

  // Where particles start, and where they go: a line of a tenth of the picture. The truth states momenta at creation.
  function directions(event, view, side, state) {
    const [low, high] = event.extent[state.fit][1], line = [[], [], []];
    for (const { row } of side.particles) {
      const start = ["x", "y", "z"].map((axis) => row[`start_${axis}_cm`]);
      const along = ["x", "y", "z"].map((axis) => row[`direction_${axis}`] ?? row[`momentum_initial_${axis}_mev_c`]);
      const size = Math.hypot(...along);
      if (!(size > 0) || start.some((value) => typeof value !== "number")) continue;
      line.forEach((values, axis) => values.push(start[axis], start[axis] + 0.1 * (high - low) * along[axis] / size, null));
    }
    const project = (weights) => line[0].map((value, row) => (value === null ? null : dot(weights, line, row)));
    const drawn = view ? { type: "scattergl", x: project(view.right), y: project(view.up) } : { type: "scatter3d", x: line[0], y: line[1], z: line[2] };
    return line[0].length ? [{ ...drawn, mode: "lines", name: "direction", rows: [], line: { color: colour("accent"), width: view ? 1.5 : 3 }, hoverinfo: "skip" }] : [];
  }

  function content(event, view, side, state, words) {
    // Without truth there are no mistakes to show.
    const mode = state.mode === "mistakes" && !event.sides.truth ? "semantic" : state.mode;
    const vertices = () => (side.vertices[0]?.length ? [crosses(event, view, "vertex", side.vertices, 5)] : []);
    switch (mode) {
      case "mistakes":
        return mistakeTraces(event, view, side, words);
      case "energy":
        return [voxels(event, view, null, "energy", {
          color: event.energy, colorscale: "Viridis", cmin: 0, cmax: quantile(event.energy, 0.98), showscale: true,
          colorbar: { title: { text: "deposited<br>energy [MeV]" }, thickness: 10, len: 0.7, outlinewidth: 0, x: 1, xanchor: "right" },
        })];
      case "semantic":
        return byLabel(side.semantic).map(([label, rows]) => voxels(
          event, view, rows, label === -2 ? "ghost" : label < 0 ? "none" : words.semantic.names[label].replace("_", " "),
          label < 0 || words.semantic.names[label] === "low_energy"
            ? { color: GREY, opacity: 0.5, size: 1.6 }
            : { color: words.semantic.colours[label] }));
      case "points":
        return [
          voxels(event, view, null, "voxels", { color: GREY, opacity: 0.25, size: 1.6 }),
          ...pointTraces(event, view, side, words), ...directions(event, view, side, state), ...vertices(),
        ];
      case "vertices":
        return [...objectTraces(event, view, side, "interaction", state).map((trace) => ({ ...trace, marker: { ...trace.marker, opacity: 0.35, size: 1.8 } })), ...vertices()];
      default:
        if (mode === "particle" && state.column) return [...columnTraces(event, view, side, state), ...vertices()];
        return [...objectTraces(event, view, side, mode, state), ...(mode === "fragment" ? [] : vertices())];
    }
  }

  // Edges of boxes as one line that is broken between them.
  function edges(boxes, view) {
    const line = [[], [], []];
    const put = (corner) => [0, 1, 2].forEach((axis) => line[axis].push(corner && corner[axis]));
    for (const ends of boxes) {
      const corner = (bits) => [0, 1, 2].map((axis) => ends[(bits >> axis) & 1][axis]);
      for (let from = 0; from < 8; from += 1) {
        for (const bit of [1, 2, 4]) {
          if (!(from & bit)) { put(corner(from)); put(corner(from | bit)); put(null); }
        }
      }
    }
    const project = (weights) => line[0].map((value, row) => (value === null ? null : dot(weights, line, row)));
    return view ? { type: "scattergl", x: project(view.right), y: project(view.up) } : { type: "scatter3d", x: line[0], y: line[1], z: line[2] };
  }

  function detector(event, view) {
    const walls = { ...edges(event.volumes_cm, view), mode: "lines", name: "active volumes", rows: [], hoverinfo: "skip", line: { color: colour("muted"), width: view ? 1 : 1.5 }, opacity: 0.6 };
    if (view || event.dimension === 2) return [walls];
    // the beam goes along z: an arrow below the detector
    const [[x0, x1], [y0, y1], [z0, z1]] = around(event.volumes_cm);
    const middle = (x0 + x1) / 2, below = y0 - 0.04 * (y1 - y0), head = 0.03 * (z1 - z0);
    const beam = {
      type: "scatter3d", mode: "lines+text", name: "beam", rows: [], hoverinfo: "skip",
      x: [middle, middle, middle, middle, middle], y: [below, below, below + head, below, below - head],
      z: [z0, z1, z1 - 2 * head, z1, z1 - 2 * head],
      line: { color: colour("accent"), width: 4 }, text: ["", "beam", "", "", ""], textposition: "bottom center",
      textfont: { color: colour("accent"), size: 12 },
    };
    return [walls, beam];
  }

  function traces(event, side, state, words) {
    const view = viewOf(event, state.view);
    return [...content(event, view, side, state, words), ...detector(event, view)];
  }

  function layout(event, state) {
    const view = viewOf(event, state.view);
    const extent = event.extent[state.fit];
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, uirevision: `${state.event}/${state.fit}/${state.view}`,
      font: { color: colour("muted"), size: 11, family: "system-ui, sans-serif" }, hoverlabel: { font: { size: 12 } },
    };
    const style = { gridcolor: colour("grid"), zerolinecolor: colour("grid"), linecolor: colour("line"), color: colour("muted") };
    if (view) {
      const reach = (weights) => {
        const ends = [0, 1].map((side) => [0, 1, 2].reduce((sum, axis) => sum + weights[axis] * extent[axis][(weights[axis] < 0) ^ side], 0));
        const margin = 0.03 * (ends[1] - ends[0]);
        return [ends[0] - margin, ends[1] + margin];
      };
      return {
        ...base, margin: { l: 52, r: 12, t: 10, b: 44 }, dragmode: "pan", hovermode: "closest",
        xaxis: { ...style, title: { text: view.labels[0] }, range: reach(view.right), zeroline: false },
        yaxis: { ...style, title: { text: view.labels[1] }, range: reach(view.up), scaleanchor: "x", scaleratio: 1, zeroline: false },
      };
    }
    const sizes = extent.map(([low, high]) => high - low);
    const largest = Math.max(...sizes);
    const axis = (name, i) => ({
      ...style, title: { text: name }, range: extent[i], autorange: false, showbackground: false, showspikes: false, nticks: 5,
    });
    return {
      ...base, margin: { l: 0, r: 0, t: 0, b: 0 },
      scene: {
        aspectmode: "manual", aspectratio: { x: sizes[0] / largest, y: sizes[1] / largest, z: sizes[2] / largest },
        camera: state.camera, dragmode: "orbit",
        xaxis: axis("x [cm]", 0), yaxis: axis("y, up [cm]", 1), zaxis: axis("z, beam [cm]", 2),
      },
    };
  }

  return { GREY, OBJECTS, VIEWS, colour, layout, open, traces };
})();
