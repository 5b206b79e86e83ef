"use strict";
// What draws lines, polygons, letters and voxels: on a canvas, or as an SVG. Both take pixels.
const Pens = (() => {
  const FONT = "system-ui, sans-serif";

  class CanvasPen {
    constructor(context) { this.context = context; }

    line(points, { colour, width = 1, opacity = 1 }) {
      const { context } = this;
      context.globalAlpha = opacity;
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
      context.globalAlpha = 1;
    }

    polygon(points, { fill, colour, width = 1 }) {
      const { context } = this;
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      if (fill) { context.fillStyle = fill; context.fill(); }
      if (colour) { context.strokeStyle = colour; context.lineWidth = width; context.stroke(); }
    }

    text(x, y, words, { colour, size = 11, align = "center", angle = 0 }) {
      const { context } = this;
      context.save();
      context.translate(x, y);
      context.rotate(angle * Math.PI / 180);
      context.font = `${size}px ${FONT}`;
      context.textAlign = align;
      context.textBaseline = "middle";
      context.fillStyle = colour;
      context.fillText(words, 0, 0);
      context.restore();
    }
  }

  const escaped = (text) => String(text).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const short = (value) => Number(value.toFixed(2));

  class SvgPen {
    constructor() { this.parts = []; }

    path(points) { return points.map(([x, y], i) => `${i ? "L" : "M"}${short(x)} ${short(y)}`).join(""); }

    line(points, { colour, width = 1, opacity = 1 }) {
      this.parts.push(`<path d="${this.path(points)}" fill="none" stroke="${colour}" stroke-width="${width}" opacity="${opacity}"/>`);
    }

    polygon(points, { fill, colour, width = 1 }) {
      this.parts.push(`<path d="${this.path(points)}Z" fill="${fill || "none"}"${colour ? ` stroke="${colour}" stroke-width="${width}"` : ""}/>`);
    }

    text(x, y, words, { colour, size = 11, align = "center", angle = 0 }) {
      const anchor = { center: "middle", left: "start", right: "end" }[align];
      this.parts.push(`<text x="${short(x)}" y="${short(y)}" font-family="${escaped(FONT)}" font-size="${size}" fill="${colour}" text-anchor="${anchor}" dominant-baseline="central"${angle ? ` transform="rotate(${angle} ${short(x)} ${short(y)})"` : ""}>${escaped(words)}</text>`);
    }

    square(x, y, size, colour, opacity) {
      this.parts.push(`<rect x="${short(x - size / 2)}" y="${short(y - size / 2)}" width="${short(size)}" height="${short(size)}" fill="${colour}"${opacity < 1 ? ` opacity="${opacity}"` : ""}/>`);
    }

    toString() { return this.parts.join("\n"); }
  }

  // Voxels as squares of pixels with their depth, in memory: 100,000 take some milliseconds, without a graphics card.
  class Raster {
    resize(width, height) {
      if (this.width === width && this.height === height) return;
      Object.assign(this, { width, height, image: new ImageData(width, height), depth: new Float32Array(width * height) });
      this.pixels = new Uint32Array(this.image.data.buffer);
    }

    clear() {
      this.pixels.fill(0);
      this.depth.fill(Infinity);
    }

    // `rows` of the projected places, with one colour or one each (0xAABBGGRR); a square is `size` pixels at least, or as large as a voxel.
    squares(placed, lens, ratio, { rows, colours, colour, opacity, size, cm, before = 0 }) {
      const { width, height, pixels, depth } = this, { x: xs, y: ys, depth: far } = placed;
      const num = rows ? rows.length : xs.length, side = cm * lens.perCm * lens.focus * ratio, least = size * ratio;
      for (let k = 0; k < num; k += 1) {
        const i = rows ? rows[k] : k, d = far[i] - before;
        if (!(d > lens.near)) continue;
        const wide = Math.max(least, side / far[i]), x0 = Math.round(xs[i] * ratio - wide / 2), y0 = Math.round(ys[i] * ratio - wide / 2);
        const reach = Math.max(1, Math.round(wide)), x1 = Math.min(width, x0 + reach), y1 = Math.min(height, y0 + reach);
        const shade = colours ? colours[k] : colour;
        for (let y = Math.max(0, y0); y < y1; y += 1) {
          for (let p = y * width + Math.max(0, x0), end = y * width + x1; p < end; p += 1) {
            if (d > depth[p]) continue;
            if (opacity < 1) pixels[p] = mixed(pixels[p], shade, opacity);
            else { pixels[p] = shade; depth[p] = d; }
          }
        }
      }
    }
  }

  // A colour over another, or over nothing.
  function mixed(below, above, opacity) {
    const there = below >>> 24;
    if (!there) return ((above & 0xffffff) | (Math.round(255 * opacity) << 24)) >>> 0;
    let colour = Math.max(there, Math.round(255 * opacity)) << 24;
    for (const shift of [0, 8, 16]) {
      const a = (above >> shift) & 255, b = (below >> shift) & 255;
      colour |= Math.round(b + (a - b) * opacity) << shift;
    }
    return colour >>> 0;
  }

  const packed = new Map();
  // "#rrggbb" as the pixels of a canvas have it.
  function pack(css) {
    if (!packed.has(css)) {
      const number = parseInt(css.slice(1), 16);
      packed.set(css, ((255 << 24) | ((number & 255) << 16) | (number & 0xff00) | (number >> 16)) >>> 0);
    }
    return packed.get(css);
  }

  const css = (pixel) => `#${[0, 8, 16].map((shift) => ((pixel >> shift) & 255).toString(16).padStart(2, "0")).join("")}`;

  return { CanvasPen, Raster, SvgPen, css, pack };
})();
