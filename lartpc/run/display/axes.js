"use strict";
// Axes with round numbers, and the scale of colours.
const Axes = (() => {
  function ticks(low, high, about = 5) {
    const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power;
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(6)) || 0);
    return found;
  }

  const number = (value) => String(value).replace("-", "−");
  const names = ["x [cm]", "y, up [cm]", "z, beam [cm]"];

  // The edges of the box that are in the way of nothing: the lowest of those along x and z, the leftmost of those upwards.
  function boxed(pen, lens, extent, style) {
    const middle = Lens.at(lens, extent.map(([low, high]) => (low + high) / 2));
    if (!middle) return;
    for (const axis of [0, 1, 2]) {
      const others = [0, 1, 2].filter((one) => one !== axis);
      const edges = [0, 1, 2, 3].map((bits) => (value) => {
        const place = [0, 0, 0];
        place[axis] = value;
        others.forEach((other, k) => { place[other] = extent[other][(bits >> k) & 1]; });
        return Lens.at(lens, place);
      });
      const [low, high] = extent[axis], seen = edges.filter((edge) => edge(low) && edge((low + high) / 2) && edge(high));
      if (!seen.length) continue;
      const score = (edge) => { const [x, y] = edge((low + high) / 2); return axis === 1 ? -x : y; };
      const edge = seen.reduce((best, one) => (score(one) > score(best) ? one : best));
      const centre = edge((low + high) / 2), away = [centre[0] - middle[0], centre[1] - middle[1]];
      const long = Math.hypot(...away) || 1, out = away.map((value) => value / long);
      pen.line([edge(low), edge(high)], { colour: style.line });
      for (const value of ticks(low, high, 4)) {
        const [x, y] = edge(value);
        pen.line([[x, y], [x + 4 * out[0], y + 4 * out[1]]], { colour: style.line });
        pen.text(x + 15 * out[0], y + 13 * out[1], number(value), { colour: style.ink, size: 10 });
      }
      const [a, b] = [edge(low), edge(high)];
      let angle = Math.atan2(b[1] - a[1], b[0] - a[0]) * 180 / Math.PI;
      if (angle > 90) angle -= 180; else if (angle < -90) angle += 180;
      pen.text(centre[0] + 36 * out[0], centre[1] + 32 * out[1], names[axis], { colour: style.ink, size: 11, angle });
    }
  }

  // Axes below and to the left, with a grid.
  function flat(pen, lens, view, width, height, style) {
    const { left, right, top, bottom } = Lens.FRAME;
    const scale = lens.focus, from = (x) => (x - lens.x) / scale - lens.right[3], up = (y) => (lens.y - y) / scale - lens.up[3];
    const about = (pixels) => Math.max(2, Math.round(pixels / 80));
    for (const value of ticks(from(left), from(width - right), about(width))) {
      const x = lens.x + scale * (value + lens.right[3]);
      pen.line([[x, top], [x, height - bottom]], { colour: style.grid });
      pen.text(x, height - bottom + 11, number(value), { colour: style.ink, size: 10 });
    }
    for (const value of ticks(up(height - bottom), up(top), about(height))) {
      const y = lens.y - scale * (value + lens.up[3]);
      pen.line([[left, y], [width - right, y]], { colour: style.grid });
      pen.text(left - 6, y, number(value), { colour: style.ink, size: 10, align: "right" });
    }
    pen.line([[left, top], [left, height - bottom], [width - right, height - bottom]], { colour: style.line });
    pen.text((left + width - right) / 2, height - 12, view.labels[0], { colour: style.ink, size: 11 });
    pen.text(13, (top + height - bottom) / 2, view.labels[1], { colour: style.ink, size: 11, angle: -90 });
  }

  // Viridis, without its darkest end, which is not seen on a dark ground.
  const STOPS = ["#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"]
    .map((css) => [1, 3, 5].map((at) => parseInt(css.slice(at, at + 2), 16)));
  const SHADES = Uint32Array.from({ length: 256 }, (_, i) => {
    const at = i / 255 * (STOPS.length - 1), k = Math.min(STOPS.length - 2, Math.floor(at));
    const [r, g, b] = STOPS[k].map((value, channel) => Math.round(value + (at - k) * (STOPS[k + 1][channel] - value)));
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });

  const shades = (values, { low, high }) => Uint32Array.from(values, (value) => SHADES[Math.max(0, Math.min(255, Math.round(255 * (value - low) / (high - low || 1))))]);

  function scale(pen, { low, high, name }, width, height, style) {
    const x = width - 24, top = 0.16 * height, long = 0.62 * height, step = long / 64;
    for (let i = 0; i < 64; i += 1) {
      const y = top + long - (i + 1) * step;
      pen.polygon([[x, y], [x + 10, y], [x + 10, y + step + 0.5], [x, y + step + 0.5]], { fill: Pens.css(SHADES[Math.round(i * 255 / 63)]) });
    }
    for (const value of ticks(low, high, 4)) {
      if (high > low) pen.text(x - 4, top + long * (1 - (value - low) / (high - low)), number(value), { colour: style.ink, size: 10, align: "right" });
    }
    pen.text(width - 12, top - 14, name, { colour: style.ink, size: 11, align: "right" });
  }

  return { boxed, flat, scale, shades };
})();
