"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const LINES = ["#2f86c9", "#e08a00", "#009e73", "#cc79a7", "#a05cc5", "#d55e00", "#7f8a99"];
  // Told apart by the colour-blind as far as so many can be; legends name every object besides.
  const OBJECTS = [
    "#E69F00", "#3A96DB", "#00A07A", "#CC79A7", "#D55E00", "#8F7BE0", "#A6A12B", "#B0487C",
    "#3CB8B0", "#7A5C3A", "#6E93B8", "#E0705E", "#5E8C31", "#9C4FC0", "#C9A36A", "#2F5FA8",
  ];
  const GREY = "#9aa3ad";
  const SETTINGS = { responsive: true, displaylogo: false, displayModeBar: false };

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // -- charts ------------------------------------------------------------------------------------

  function drawChart(element) {
    const chart = data.charts[Number(element.dataset.chart)];
    const bars = chart.series.some((series) => series.bar);
    const traces = chart.series.map((series, i) => {
      const shade = LINES[i % LINES.length];
      if (series.bar) {
        return { type: "bar", name: series.name, x: series.x, y: series.y, marker: { color: shade } };
      }
      if (series.quiet) {  // a limit to compare with
        return {
          type: "scatter", mode: "lines", name: series.name, x: series.x, y: series.y, hoverinfo: "skip",
          line: { color: GREY, width: 1, dash: "dot" }, showlegend: false,
        };
      }
      if (series.error) {
        return {
          type: "scatter", mode: "markers", name: series.name, x: series.x, y: series.y,
          error_y: { type: "data", array: series.error, thickness: 1.5, width: 4 },
          marker: { color: shade, size: 7, symbol: ["circle", "square", "diamond", "cross"][i % 4] },
        };
      }
      return {
        type: "scatter", mode: series.x.length < 30 && !series.shape ? "lines+markers" : "lines",
        name: series.name, x: series.x, y: series.y,
        line: { color: shade, width: 2, shape: series.shape || "linear", dash: i % 2 ? "dash" : "solid" },
        fill: series.shape && i === 0 ? "tozeroy" : "none", fillcolor: shade + "22",
        marker: { size: 5, symbol: ["circle", "square", "diamond", "cross"][i % 4] },
      };
    });
    const axis = { gridcolor: colour("grid"), zeroline: false, linecolor: colour("line"), automargin: true };
    Plotly.react(element, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("muted"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 50, r: 10, t: 8, b: 40 }, hovermode: "x unified", barmode: bars ? "group" : undefined,
      hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink") } },
      xaxis: { ...axis, title: { text: chart.x }, type: bars || chart.categories ? "category" : chart.log_x ? "log" : "linear" },
      yaxis: { ...axis, title: { text: chart.y }, type: chart.log_y ? "log" : "linear", rangemode: chart.free_y ? "normal" : "tozero" },
      showlegend: chart.series.length > 1, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    }, SETTINGS);
  }

  // -- events ------------------------------------------------------------------------------------

  // Images of wire planes are flat: looked at from below, with the drift upwards and the wires to the right.
  const isFlat = data.displays.some((event) => event.dimension === 2);
  const camera = isFlat
    ? { eye: { x: 0, y: 0, z: -1 }, up: { x: 1, y: 0, z: 0 }, projection: { type: "orthographic" } }
    : { eye: { x: 1.35, y: 1.35, z: 0.95 }, center: { x: 0, y: 0, z: -0.12 } };
  const state = { event: 0, mode: "semantic", camera, linking: false };
  const unpacked = new Map();

  function unpack(text, kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new kind(bytes.buffer);
  }

  function eventData(number) {
    if (!unpacked.has(number)) {
      const event = data.displays[number];
      const coord = unpack(event.coord, Int16Array);
      const num = event.num_drawn;
      const place = (axis) => Float32Array.from(
        coord.subarray(axis * num, (axis + 1) * num),
        (value) => event.origin_cm[axis] + (value + 0.5) * event.pitch_cm[axis]);
      const position = [0, 1, 2].map(place);
      const sides = {};
      for (const [name, side] of Object.entries(event.sides)) {
        sides[name] = {
          ...side,
          semantic: unpack(side.semantic, Int8Array),
          particle: unpack(side.particle, Int16Array),
          interaction: unpack(side.interaction, Int16Array),
        };
      }
      const energy = Float32Array.from(unpack(event.energy_kev, Uint16Array), (value) => value / 1000);
      unpacked.set(number, { ...event, position, energy, sides, ranges: cube(position) });
    }
    return unpacked.get(number);
  }

  // A cube around the voxels, so that both pictures have the same scale on all axes.
  function cube(position) {
    const ends = position.map((values) => {
      let low = Infinity, high = -Infinity;
      for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
      return [low, high];
    });
    const half = Math.max(2, ...ends.map(([low, high]) => (high - low) / 2)) * 1.06;
    return ends.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]);
  }

  function voxels(event, rows, name, marker, extra = {}) {
    const pick = (values) => (rows ? Float32Array.from(rows, (row) => values[row]) : values);
    return {
      type: "scatter3d", mode: "markers", name,
      x: pick(event.position[0]), y: pick(event.position[1]), z: pick(event.position[2]),
      customdata: pick(event.energy),
      hovertemplate: "%{x:.1f}, %{y:.1f}, %{z:.1f} cm<br>%{customdata:.3f} MeV<extra>" + name + "</extra>",
      marker: { size: 2.2, line: { width: 0 }, ...marker }, ...extra,
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

  function markers(name, [x, y, z], marker) {
    return {
      type: "scatter3d", mode: "markers", name, x, y, z, marker,
      hovertemplate: "%{x:.1f}, %{y:.1f}, %{z:.1f} cm<extra>" + name + "</extra>",
    };
  }

  function vertexTrace(side) {
    return markers("vertex", side.vertices, { size: 7, symbol: "cross", color: colour("ink"), opacity: 0.9 });
  }

  function pointTraces(side) {
    const traces = [];
    const { position, semantic, kind } = side.points;
    data.semantic.names.forEach((name, code) => data.kinds.forEach((kindName, kindCode) => {
      const rows = semantic.map((_, row) => row).filter((row) => semantic[row] === code && kind[row] === kindCode);
      if (!rows.length) return;
      traces.push(markers(`${name.replace("_", " ")} ${kindName}`, position.map((axis) => rows.map((row) => axis[row])), {
        size: 6, symbol: kindCode ? "diamond" : "square-open", color: data.semantic.colours[code],
        line: { width: kindCode ? 1 : 3, color: kindCode ? colour("ink") : data.semantic.colours[code] },
      }));
    }));
    return traces;
  }

  // What one side says of voxels that the other calls something else, and its points that the other lacks.
  function mistakeTraces(event, side) {
    const { truth, prediction } = event.sides;
    const words = data.semantic.names.map((name) => name.replace("_", " "));
    const right = [], wrong = new Map();
    prediction.semantic.forEach((label, row) => {
      const wanted = truth.semantic[row];
      if (wanted === label || wanted < 0) { right.push(row); return; }
      const name = `${words[wanted]} → ${words[label] ?? "none"}`;
      if (!wrong.has(name)) wrong.set(name, []);
      wrong.get(name).push(row);
    });
    const found = [voxels(event, right, "right", { color: GREY, opacity: 0.25, size: 1.6 })];
    for (const [name, rows] of [...wrong.entries()].sort((a, b) => b[1].length - a[1].length)) {
      const shade = data.semantic.colours[side.semantic[rows[0]]] || GREY;
      found.push(voxels(event, rows, `${name} (${rows.length})`, { color: shade, size: 3 }));
    }
    const alone = side.points.alone.map((_, row) => row).filter((row) => side.points.alone[row]);
    if (alone.length) {
      const name = side === truth ? "lost point" : "false point";
      const at = side.points.position.map((axis) => alone.map((row) => axis[row]));
      found.push(markers(name, at, { size: 7, symbol: "x", color: colour("ink"), opacity: 0.9 }));
    }
    return found;
  }

  function quantile(values, share) {
    const sorted = Float32Array.from(values).sort();
    return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  }

  function traces(event, side, withScale) {
    // Without truth there are no mistakes to show.
    switch (state.mode === "mistakes" && !event.sides.truth ? "semantic" : state.mode) {
      case "mistakes":
        return mistakeTraces(event, side);
      case "energy":
        return [voxels(event, null, "energy", {
          color: event.energy, colorscale: "Viridis", cmin: 0, cmax: quantile(event.energy, 0.98), showscale: withScale,
          colorbar: { title: { text: "MeV" }, thickness: 10, len: 0.6, outlinewidth: 0, x: 1 },
        }, { showlegend: false })];
      case "semantic":
        return byLabel(side.semantic).map(([label, rows]) => voxels(
          event, rows, label === -2 ? "ghost" : label < 0 ? "none" : data.semantic.names[label].replace("_", " "),
          label < 0 || data.semantic.names[label] === "low_energy"
            ? { color: GREY, opacity: 0.5, size: 1.6 }
            : { color: data.semantic.colours[label] }));
      case "points":
        return [
          voxels(event, null, "voxels", { color: GREY, opacity: 0.25, size: 1.6 }),
          ...pointTraces(side), vertexTrace(side),
        ];
      default: {
        const objects = state.mode === "particle" ? side.particles : side.interactions;
        const found = byLabel(side[state.mode]).map(([label, rows]) => label < 0
          ? voxels(event, rows, "none", { color: GREY, opacity: 0.3, size: 1.6 })
          : voxels(event, rows, objects[label].name, { color: OBJECTS[objects[label].colour % OBJECTS.length] }));
        return [...found, vertexTrace(side)];
      }
    }
  }

  function layout(event) {
    const axis = (name, i) => ({
      title: { text: `${name} [cm]` }, range: event.ranges[i], autorange: false, showbackground: false,
      gridcolor: colour("grid"), zerolinecolor: colour("grid"), linecolor: colour("line"),
      showspikes: false, color: colour("muted"), nticks: 5,
    });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", margin: { l: 0, r: 0, t: 0, b: 0 },
      font: { color: colour("muted"), size: 11, family: "system-ui, sans-serif" },
      scene: {
        // Seen from straight above, the picture is as large as its box.
        ...(isFlat ? { aspectmode: "manual", aspectratio: { x: 1.6, y: 1.6, z: 1.6 } } : { aspectmode: "cube" }),
        camera: state.camera, dragmode: isFlat ? "pan" : "orbit",
        xaxis: axis(isFlat ? "drift" : "x", 0), yaxis: axis(isFlat ? "across the wires" : "y", 1),
        zaxis: isFlat ? { ...axis("", 2), visible: false } : axis("z", 2),
      },
      legend: { itemsizing: "constant", x: 0, y: 1, bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), size: 12 } },
      hoverlabel: { font: { size: 12 } },
    };
  }

  const panels = ["truth", "prediction"];

  async function drawEvent() {
    const event = eventData(state.event);
    const single = !event.sides.truth;
    document.getElementById("panels").classList.toggle("single", single);
    document.getElementById("truth-panel").hidden = single;
    document.getElementById("event").value = String(state.event);
    for (const button of document.querySelectorAll("#mode button")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
    }
    const thinned = event.num_drawn < event.num_voxels ? `${event.num_drawn.toLocaleString("en")} of ` : "";
    document.getElementById("note").textContent =
      `${thinned}${event.num_voxels.toLocaleString("en")} voxels, ${event.energy_mev} MeV`;
    for (const name of panels) {
      const element = document.getElementById(name);
      if (!event.sides[name]) { Plotly.purge(element); element.linked = false; continue; }
      const withScale = single || name === "prediction";
      await Plotly.react(element, traces(event, event.sides[name], withScale), layout(event), SETTINGS);
      if (!element.linked) { element.linked = true; link(element, name); }
    }
  }

  // Turning one picture turns the other.
  function link(element, name) {
    const follow = (change) => {
      const camera = change["scene.camera"];
      if (!camera || state.linking) return;
      state.camera = camera;
      const other = document.getElementById(panels.find((panel) => panel !== name));
      if (!other.linked) return;
      state.linking = true;
      Plotly.relayout(other, { "scene.camera": camera }).finally(() => { state.linking = false; });
    };
    element.on("plotly_relayouting", follow);
    element.on("plotly_relayout", follow);
  }

  function setUpEvents() {
    const select = document.getElementById("event");
    data.displays.forEach((event, number) => select.add(new Option(event.title, String(number))));
    const go = (number) => {
      state.event = (number + data.displays.length) % data.displays.length;
      drawEvent();
    };
    select.addEventListener("change", () => go(Number(select.value)));
    document.getElementById("previous").addEventListener("click", () => go(state.event - 1));
    document.getElementById("next").addEventListener("click", () => go(state.event + 1));
    document.getElementById("mode").addEventListener("click", (click) => {
      if (click.target.dataset.mode) { state.mode = click.target.dataset.mode; drawEvent(); }
    });
    for (const button of document.querySelectorAll("#worst button[data-event]")) {
      button.addEventListener("click", () => {
        state.mode = "mistakes";
        go(Number(button.dataset.event));
        document.getElementById("display").scrollIntoView({ behavior: "smooth" });
      });
    }
    // "#mode" or "#mode/event" in the address opens the page at that picture.
    const [mode, number] = location.hash.slice(1).split("/");
    if (document.querySelector(`#mode [data-mode="${CSS.escape(mode)}"]`)) state.mode = mode;
    if (Number(number) < data.displays.length) state.event = Number(number);
  }

  // -- page --------------------------------------------------------------------------------------

  function draw() {
    document.querySelectorAll(".chart").forEach(drawChart);
    if (data.displays.length) drawEvent();
  }

  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (dark) => { root.dataset.theme = dark ? "dark" : "light"; };
  setTheme(prefersDark.matches);
  prefersDark.addEventListener("change", (change) => { setTheme(change.matches); draw(); });
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(root.dataset.theme !== "dark");
    draw();
  });
  if (data.displays.length) setUpEvents();
  draw();
})();
