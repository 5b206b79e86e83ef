"use strict";
// Charts of figures, and what is known of a particle.
const Charts = (() => {
  const LINES = ["#2f86c9", "#e08a00", "#009e73", "#cc79a7", "#a05cc5", "#d55e00", "#7f8a99"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up"];
  const FEW = 20; // objects, below which a value is grey
  const SETTINGS = { responsive: true, displaylogo: false, displayModeBar: false };

  const shadeOf = (series, i) => (series.quiet ? Scene.GREY : LINES[(series.like ?? i) % LINES.length]);

  // Points of several series at one place stand side by side.
  function aside(chart, series, i) {
    const rivals = chart.series.filter((one) => one.error && !one.bar);
    if (!series.error || series.bar || rivals.length < 2 || chart.categories) return series.x;
    const step = (rivals.indexOf(series) - (rivals.length - 1) / 2) / rivals.length;
    const width = Math.abs(series.x[1] - series.x[0]) || 0;
    return series.x.map((x) => (chart.log_x ? x * (1 + 0.16 * step) : x + 0.3 * width * step));
  }

  function trace(chart, series, i) {
    const shade = shadeOf(series, i);
    const base = { name: series.name, x: aside(chart, series, i), y: series.y };
    const shades = series.num && !series.shape ? series.num.map((num) => (num < FEW ? Scene.GREY : shade)) : shade;
    const counted = series.num && !series.shape
      ? { customdata: series.num, hovertemplate: "%{y:.4g}, N = %{customdata:,}" } : {};
    const low = series.error_low || series.error;
    const error_y = series.error && {
      type: "data", array: series.error, arrayminus: low, symmetric: false, thickness: 1.2, width: 2, color: series.bar ? Scene.colour("ink") : shade,
    };
    if (series.bar) return { ...base, ...counted, type: "bar", error_y, marker: { color: shades } };
    if (series.quiet) { // a limit to compare with
      return { ...base, type: "scatter", mode: "lines", hoverinfo: "skip", line: { color: shade, width: 1.5, dash: "dot" }, showlegend: false };
    }
    if (series.error) {
      return { ...base, ...counted, type: "scatter", mode: "markers", error_y, marker: { color: shades, size: 6, symbol: SYMBOLS[i % 4] } };
    }
    return {
      ...base, type: "scatter", mode: series.x.length < 30 && !series.shape && !series.theory ? "lines+markers" : "lines",
      line: { color: shade, width: series.theory ? 1.5 : 2, shape: series.shape || "linear", dash: i % 2 ? "dash" : "solid" },
      fill: series.shape && i === 0 ? "tozeroy" : "none", fillcolor: `${shade}22`, marker: { size: 5, symbol: SYMBOLS[i % 4] },
    };
  }

  // The statistical error of a histogram's bins, at their centres.
  function poisson(series, i) {
    const x = series.y.slice(0, -1).map((_, bin) => (series.x[bin] > 0 && series.x[bin + 1] / series.x[bin] > 1.01 && series.log
      ? Math.sqrt(series.x[bin] * series.x[bin + 1]) : (series.x[bin] + series.x[bin + 1]) / 2));
    return {
      type: "scatter", mode: "markers", x, y: series.y.slice(0, -1), showlegend: false, hoverinfo: "skip", marker: { size: 1, color: LINES[i % LINES.length] },
      error_y: { type: "data", array: series.y.slice(0, -1).map(Math.sqrt), thickness: 1, width: 0, color: LINES[i % LINES.length] },
    };
  }

  // A range of y where the series has an error on either side but is drawn as a line.
  function band(series, i) {
    return {
      type: "scatter", mode: "lines", x: [...series.x, ...[...series.x].reverse()], y: [...series.high, ...[...series.low].reverse()],
      fill: "toself", fillcolor: `${LINES[i % LINES.length]}33`, line: { width: 0 }, hoverinfo: "skip", showlegend: false,
    };
  }

  function legend(element, chart) {
    let list = element.nextElementSibling;
    if (!list?.classList.contains("legend")) {
      list = document.createElement("div");
      list.className = "legend";
      element.after(list);
    }
    list.replaceChildren(...chart.series.map((series, i) => {
      const entry = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = shadeOf(series, i);
      const num = series.total;
      entry.append(dot, series.name + (num === undefined || num === null ? "" : `, N = ${num.toLocaleString("en")}`));
      if (num !== undefined && num !== null && num < FEW) {
        entry.className = "few";
        entry.append(` (fewer than ${FEW})`);
      }
      return entry;
    }));
  }

  function draw(element, chart) {
    const bars = chart.series.some((series) => series.bar);
    const traces = chart.series.flatMap((series, i) => [
      ...(series.low ? [band(series, i)] : []), trace(chart, series, i), ...(series.counts ? [poisson(series, i)] : []),
    ]);
    const axis = { gridcolor: Scene.colour("grid"), zeroline: false, linecolor: Scene.colour("line"), automargin: true };
    legend(element, chart);
    return Plotly.react(element, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: Scene.colour("muted"), size: 12, family: "system-ui, sans-serif" },
      margin: { l: 54, r: 12, t: 10, b: 46 }, hovermode: "x unified", barmode: bars ? "group" : undefined,
      hoverlabel: { bgcolor: Scene.colour("panel"), font: { color: Scene.colour("ink") } }, dragmode: false,
      xaxis: { ...axis, fixedrange: true, title: { text: chart.x }, type: bars || chart.categories ? "category" : chart.log_x ? "log" : "linear" },
      yaxis: { ...axis, fixedrange: true, title: { text: chart.y }, type: chart.log_y ? "log" : "linear", rangemode: chart.free_y ? "normal" : "tozero" },
      showlegend: false,
    }, SETTINGS);
  }

  return { draw };
})();

// The row of a particle, its relatives and its match as buttons, and dE/dx along it.
function describeParticle(place, particle, side, show) {
  const node = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const title = node("h3", `${side === "truth" ? "true" : "reconstructed"} particle ${particle.name}`);
  const relatives = node("div", undefined, "tools");
  const other = side === "truth" ? "prediction" : "truth";
  const link = (label, number, of) => {
    const button = node("button", `${label} ${number}`);
    button.type = "button";
    button.addEventListener("click", () => show(number, of));
    relatives.append(button);
  };
  if (particle.match >= 0) link(`${other === "truth" ? "true" : "reconstructed"} match (IoU ${particle.iou.toFixed(2)}):`, particle.match, other);
  else relatives.append(node("span", `no ${other === "truth" ? "true" : "reconstructed"} particle shares voxels with it`, "note"));
  if (particle.parent >= 0) link("parent:", particle.parent, side);
  for (const child of particle.children) link("child:", child, side);
  const columns = node("div", undefined, "columns");
  const table = node("table", undefined, "row");
  for (const [name, value] of Object.entries(particle.row)) {
    const line = table.insertRow();
    line.append(node("th", name), node("td", value === null ? "unknown" : String(value)));
  }
  const scroll = node("div", undefined, "scroll");
  scroll.tabIndex = 0;
  scroll.append(table);
  columns.append(scroll);
  place.replaceChildren(title, relatives, columns);
  if (particle.dedx) {
    const tile = node("div", undefined, "tile"), chart = node("div", undefined, "chart");
    tile.append(node("h3", "dE/dx along the track, and what each species would lose"), chart);
    columns.append(tile);
    const { residual_cm: x, dedx_mev_cm: y, expected } = particle.dedx;
    const theory = Object.entries(expected).map(([name, values]) => ({ name: `${name}, if it stops`, x, y: values, theory: true }));
    Charts.draw(chart, { x: "residual range [cm]", y: "dE/dx [MeV/cm]", series: [{ name: "this particle", x, y }, ...theory] });
  }
}
