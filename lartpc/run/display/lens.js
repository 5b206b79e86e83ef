"use strict";
// How places [cm] become pixels: in perspective as a camera sees them, or flat along two directions.
// Cameras are in units of the longest side of what is shown, from its middle; y is up.
const Lens = (() => {
  const HALF_ANGLE = 21 * Math.PI / 180, NEAR = 0.02;
  const FRAME = { left: 58, right: 14, top: 10, bottom: 46 };
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const times = (a, factor) => a.map((value) => value * factor);
  const plus = (a, b) => a.map((value, axis) => value + b[axis]);
  const minus = (a, b) => a.map((value, axis) => value - b[axis]);
  const unit = (a) => times(a, 1 / (Math.hypot(...a) || 1));
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

  // What the camera has to its right, above it and before it.
  function directions(camera) {
    const ahead = unit(minus(camera.center, camera.eye)), right = unit(cross(ahead, [0, 1, 0]));
    return { ahead, right, up: cross(right, ahead) };
  }

  // A direction as weights of x, y, z and 1.
  const row = (weights, scale, offset) => [...times(weights, scale), offset];

  function perspective(extent, camera, width, height) {
    const largest = Math.max(...extent.map(([low, high]) => high - low));
    const middle = extent.map(([low, high]) => (low + high) / 2);
    const axes = directions(camera);
    const along = (axis) => row(axis, 1 / largest, -dot(axis, middle) / largest - dot(axis, camera.eye));
    return {
      right: along(axes.right), up: along(axes.up), ahead: along(axes.ahead),
      focus: Math.min(width, height) / 2 / Math.tan(HALF_ANGLE), perCm: 1 / largest, x: width / 2, y: height / 2, near: NEAR,
    };
  }

  // What of an extent lies along a direction, with a margin.
  function reach(extent, weights) {
    const ends = [0, 1].map((side) => [0, 1, 2].reduce((sum, axis) => sum + weights[axis] * extent[axis][(weights[axis] < 0) ^ side], 0));
    const margin = 0.03 * (ends[1] - ends[0]);
    return [ends[0] - margin, ends[1] + margin];
  }

  // `pan` [cm] moves the middle of the picture, `zoom` enlarges it.
  function flat(extent, view, { pan, zoom }, width, height) {
    const across = reach(extent, view.right), upwards = reach(extent, view.up);
    const inner = [width - FRAME.left - FRAME.right, height - FRAME.top - FRAME.bottom];
    const focus = zoom * Math.min(inner[0] / (across[1] - across[0]), inner[1] / (upwards[1] - upwards[0]));
    return {
      right: row(view.right, 1, -(across[0] + across[1]) / 2 - pan[0]), up: row(view.up, 1, -(upwards[0] + upwards[1]) / 2 - pan[1]),
      ahead: [0, 0, 0, 1], focus, perCm: 1, x: FRAME.left + inner[0] / 2, y: FRAME.top + inner[1] / 2, near: NEAR,
    };
  }

  const along = (weights, place) => dot(weights, place) + weights[3];

  // One place [x, y, z] as pixels to the right and downwards; null where it is behind the camera.
  function at(lens, place) {
    const depth = along(lens.ahead, place);
    if (!(depth > lens.near)) return null;
    const scale = lens.focus / depth;
    return [lens.x + scale * along(lens.right, place), lens.y - scale * along(lens.up, place), depth];
  }

  // All places (three arrays) at once.
  function all(lens, [px, py, pz], into) {
    const { right: r, up: u, ahead: a, focus, x, y } = lens;
    for (let i = 0; i < px.length; i += 1) {
      const depth = a[0] * px[i] + a[1] * py[i] + a[2] * pz[i] + a[3], scale = focus / depth;
      into.x[i] = x + scale * (r[0] * px[i] + r[1] * py[i] + r[2] * pz[i] + r[3]);
      into.y[i] = y - scale * (u[0] * px[i] + u[1] * py[i] + u[2] * pz[i] + u[3]);
      into.depth[i] = depth;
    }
    return into;
  }

  // Cameras after a turn [radians], a shift [pixels] or an approach.
  function turned(camera, sideways, upwards) {
    const [x, y, z] = minus(camera.eye, camera.center), far = Math.hypot(x, y, z);
    const azimuth = Math.atan2(x, z) + sideways;
    const height = Math.max(-1.55, Math.min(1.55, Math.asin(y / far) + upwards));
    const ground = far * Math.cos(height);
    return { ...camera, eye: plus(camera.center, [ground * Math.sin(azimuth), far * Math.sin(height), ground * Math.cos(azimuth)]) };
  }

  function shifted(camera, lens, dx, dy) {
    const { right, up } = directions(camera), far = Math.hypot(...minus(camera.center, camera.eye)) / lens.focus;
    const by = plus(times(right, -dx * far), times(up, dy * far));
    return { ...camera, eye: plus(camera.eye, by), center: plus(camera.center, by) };
  }

  function nearer(camera, factor) {
    const from = minus(camera.eye, camera.center), far = Math.hypot(...from);
    return { ...camera, eye: plus(camera.center, times(from, Math.max(0.05, Math.min(8, far / factor)) / far)) };
  }

  return { FRAME, all, at, dot, flat, nearer, perspective, shifted, turned };
})();
