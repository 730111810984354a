// The way of a packet over the stage: where each beat of a journey happens,
// and the line from one beat to the next.

import { reversed } from './scene.js';

/** @import { Beat } from './journey' */
/** @import { Scene, Point, Box, Gate } from './scene' */

/** @param {Scene} scene @param {string} id */
export function gate(scene, id) {
  return scene.lane?.gates.find((g) => g.id === id);
}

/** @param {Box} b @returns {Point} */
export const centre = (b) => ({ x: b.x + b.w / 2, y: b.y + b.h / 2 });

/** Whether the packet was at a point earlier in the same node. @param {Beat[]} list @param {number} i @param {string} point */
function passed(list, i, point) {
  return list.some((b) => b.index < i && b.hop === list[i].hop && (b.step.point === point || (b.step.point === 'conntrack' && b.step.chain === point)));
}

/**
 * The gate of the lane at which a beat happens, if it happens there.
 * @param {Scene} scene
 * @param {Beat[]} list
 * @param {number} i
 * @returns {string}
 */
export function gateOf(scene, list, i) {
  const b = list[i];
  if (!b || b.node !== scene.main) return '';
  const p = b.step.point;
  if (p === 'conntrack') {
    if (b.step.chain && gate(scene, b.step.chain)) return b.step.chain;
    for (let k = i - 1; k >= 0 && list[k].hop === b.hop; k--) if (list[k].step.point !== 'conntrack') return gateOf(scene, list, k);
    return 'PREROUTING';
  }
  if (p === 'route') {
    if (passed(list, i, 'rx')) return 'route';
    return passed(list, i, 'OUTPUT') ? 'route-out' : 'route-local';
  }
  if ((p === 'rx' || p === 'tx') && b.step.dev === 'lo') return 'lo';
  if (p === 'rx' && passed(list, i, 'PREROUTING')) return 'handover';
  return gate(scene, p) ? p : '';
}

/**
 * @param {Scene} scene
 * @param {Beat[]} list
 * @param {number} i
 * @returns {Point}
 */
export function spot(scene, list, i) {
  const b = list[i];
  if (!b) return { x: 0, y: 0 };
  const at = gate(scene, gateOf(scene, list, i));
  if (at?.shape === 'tiny' || at?.shape === 'none') return centre(at);
  if (at?.id === 'lo') return { x: at.x + at.w / 2, y: at.y - 4 };
  if (at) return { x: at.h < 40 ? at.x + 8 : at.x + at.w / 2, y: at.y }; // a low box is full of its words: at its corner
  const dev = b.step.dev;
  const bar = scene.bars.find((bar) => bar.node === b.node && bar.name === dev);
  if (bar && b.step.point !== 'bridge') return { x: bar.x + bar.w / 2, y: bar.y };
  if (b.step.point === 'bridge' && b.node === scene.main) {
    const own = bar ?? barNear(scene, list, i);
    if (own) return { x: own.x + own.w / 2, y: portNear(scene, list, i)?.y ?? own.y + 30 };
  }
  const port = scene.ports.find((p) => p.node === b.node && p.dev === dev);
  if (port && (b.step.point === 'rx' || b.step.point === 'tx')) return { x: port.x, y: port.shape === 'chip' ? port.y - 17 : port.y };
  const junction = scene.junctions.find((j) => j.key === b.node);
  if (junction) return { x: junction.x, y: junction.y };
  const room = scene.rooms.find((r) => r.key === b.node);
  if (!room) return { x: scene.w / 2, y: scene.h - 30 };
  // on a card's upper edge, as on a gate's: what is written stays readable
  const depth = { PREROUTING: 17, POSTROUTING: 17, route: 28, conntrack: 17 }[b.step.point] ?? 39;
  const y = room.side === 'main' ? room.y + room.h - 40 : room.y;
  return { x: room.side === 'right' ? room.x + depth : room.x + room.w - depth, y };
}

/** @param {Scene} scene @param {Beat[]} list @param {number} i */
function portNear(scene, list, i) {
  for (const k of [i - 1, i + 1]) {
    const b = list[k];
    const port = b && b.hop === list[i].hop && scene.ports.find((p) => p.node === b.node && p.dev === b.step.dev);
    if (port) return port;
  }
  return undefined;
}

/** @param {Scene} scene @param {Beat[]} list @param {number} i */
function barNear(scene, list, i) {
  for (const k of [i - 1, i + 1]) {
    const b = list[k];
    const bar = b && b.hop === list[i].hop && scene.bars.find((x) => x.node === b.node && x.name === b.step.dev);
    if (bar) return bar;
  }
  return scene.bars[0];
}

/**
 * The line from beat i-1 to beat i, as an SVG path. What is drawn stops at the
 * gates' edges and stays out of the cards; the packet itself goes all the way.
 * @param {Scene} scene
 * @param {Beat[]} list
 * @param {number} i
 * @param {boolean} [drawn]
 * @returns {string}
 */
export function leg(scene, list, i, drawn = false) {
  const to = spot(scene, list, i);
  if (i <= 0) return `M${to.x} ${to.y}L${to.x} ${to.y}`;
  const from = spot(scene, list, i - 1);
  const a = list[i - 1];
  const b = list[i];
  if (a.hop !== b.hop) {
    const cable = along(scene, `${a.node}|${a.step.dev}`, `${b.node}|${b.step.dev}`);
    if (!cable || drawn) return cable ?? straight(from, to);
    return `M${from.x} ${from.y}${cable.replace(/^M/, 'L')}L${to.x} ${to.y}`;
  }
  const lane = scene.lane;
  if (!lane || a.node !== scene.main) return drawn ? '' : straight(from, to);
  const ga = gateOf(scene, list, i - 1);
  const gb = gateOf(scene, list, i);
  if (ga && gb && ga !== 'lo' && gb !== 'lo') return between(scene, ga, gb, from, to, drawn);
  const corridor = lane.y + lane.h;
  const centreX = lane.x + lane.w / 2;
  if (ga === 'lo' && gb !== 'lo') {
    const lo = /** @type {Gate} */ (gate(scene, 'lo'));
    const g = gate(scene, gb);
    return drawn && g ? straight({ x: to.x, y: lo.y }, { x: to.x, y: g.y + g.h }) : straight(from, to);
  }
  if (!ga && gb && gb !== 'lo') { // into the lane: at its left end, whichever door it came in by
    const g = /** @type {Gate} */ (gate(scene, gb));
    const entry = { x: g.x, y: g.y + g.h / 2 };
    if (gb !== 'PREROUTING') return straight(from, to);
    const x = lane.x - 6;
    if (from.x < centreX) {
      const bar = scene.bars.find((b) => Math.abs(b.x - from.x) < 1);
      const start = bar ? { x: bar.x + bar.w / 2, y: bar.y } : from;
      const through = bar ? `M${from.x} ${from.y}L${start.x - 6} ${from.y}Q${start.x} ${from.y} ${start.x} ${from.y - 6}L${start.x} ${start.y}` : `M${from.x} ${from.y}`;
      return `${through}C${start.x} ${start.y - 44} ${x} ${corridor - 10} ${x} ${corridor - 40}C${x - 4} ${entry.y + 16} ${x} ${entry.y + 2} ${entry.x - 2} ${entry.y}${drawn ? '' : `L${to.x} ${to.y}`}`;
    }
    return rounded([from, { x: from.x, y: corridor + 14 }, { x, y: corridor + 14 }, { x, y: entry.y }, entry, ...(drawn ? [] : [to])]);
  }
  if (ga && ga !== 'lo' && !gb) { // out of it: at its right end
    const g = /** @type {Gate} */ (gate(scene, ga));
    const exit = { x: g.x + g.w, y: g.y + g.h / 2 };
    if (ga !== 'POSTROUTING' && ga !== 'OUTPUT') return straight(from, to);
    const x = lane.x + lane.w + 8;
    if (to.x >= centreX) {
      return `${drawn ? 'M' : `M${from.x} ${from.y}L`}${exit.x} ${exit.y}C${x + 26} ${exit.y + 2} ${x + 8} ${corridor + 10} ${to.x} ${to.y - 16}L${to.x} ${to.y}`;
    }
    return rounded([...(drawn ? [] : [from]), exit, { x, y: exit.y }, { x, y: corridor + 26 }, { x: to.x, y: corridor + 26 }, to]);
  }
  if (gb === 'lo') {
    const g = /** @type {Gate} */ (gate(scene, ga || 'POSTROUTING'));
    const x = lane.x + lane.w + 8;
    if (ga === 'lo') return straight(from, to);
    return rounded([...(drawn ? [] : [from]), { x: g.x + g.w, y: g.y + g.h / 2 }, { x, y: g.y + g.h / 2 }, { x, y: corridor + 14 }, { x: to.x, y: corridor + 14 }, drawn ? { x: to.x, y: centre(/** @type {Gate} */ (gate(scene, 'lo'))).y + 12 } : to]);
  }
  return inBar(scene, from, to) ?? straight(from, to);
}

/**
 * Between a bridge and one of its ports: along the bar, then across.
 * @param {Scene} scene @param {Point} from @param {Point} to
 */
function inBar(scene, from, to) {
  /** @param {Point} head @param {Point} port */
  const joined = (head, port) => scene.bars.some((b) => Math.abs(b.x + b.w / 2 - head.x) < 1 && Math.abs(b.x - port.x) < 1);
  if (joined(from, to)) return rounded([from, { x: from.x, y: to.y }, to]);
  if (joined(to, from)) return rounded([from, { x: to.x, y: from.y }, to]);
  return undefined;
}

/**
 * From gate to gate: along the arrows, behind the boxes.
 * @param {Scene} scene @param {string} a @param {string} b @param {Point} from @param {Point} to @param {boolean} drawn
 */
function between(scene, a, b, from, to, drawn) {
  const p = centre(/** @type {Gate} */ (gate(scene, a)));
  const q = centre(/** @type {Gate} */ (gate(scene, b)));
  const corner = a === 'OUTPUT' ? { x: q.x, y: p.y } : { x: p.x, y: q.y };
  return rounded(drawn ? [p, corner, q] : [from, p, corner, q, to]);
}

/** @param {Point} a @param {Point} b */
const straight = (a, b) => `M${a.x} ${a.y}L${b.x} ${b.y}`;

/**
 * A polyline with rounded corners.
 * @param {Point[]} points
 */
export function rounded(points) {
  const list = points.filter((p, i) => i === 0 || Math.hypot(p.x - points[i - 1].x, p.y - points[i - 1].y) > 0.5);
  let d = `M${list[0].x} ${list[0].y}`;
  for (let i = 1; i < list.length - 1; i++) {
    const [p, q, s] = [list[i - 1], list[i], list[i + 1]];
    const before = Math.hypot(q.x - p.x, q.y - p.y);
    const after = Math.hypot(s.x - q.x, s.y - q.y);
    const k = Math.min(16, before / 2, after / 2);
    const a = { x: q.x - ((q.x - p.x) / before) * k, y: q.y - ((q.y - p.y) / before) * k };
    const b = { x: q.x + ((s.x - q.x) / after) * k, y: q.y + ((s.y - q.y) / after) * k };
    d += `L${a.x} ${a.y}Q${q.x} ${q.y} ${b.x} ${b.y}`;
  }
  const end = list[list.length - 1];
  return `${d}L${end.x} ${end.y}`;
}

/**
 * The way along cables between two ports, over one switch if need be.
 * @param {Scene} scene
 * @param {string} a
 * @param {string} b
 * @returns {string | undefined}
 */
function along(scene, a, b) {
  const direct = scene.cables.find((c) => (c.a === a && c.b === b) || (c.a === b && c.b === a));
  if (direct) return direct.a === a ? direct.d : reversed(direct.d);
  const [one, two] = [scene.cables.find((c) => c.a === a || c.b === a), scene.cables.find((c) => c.a === b || c.b === b)];
  if (!one || !two) return undefined;
  const first = one.a === a ? one.d : reversed(one.d);
  const second = two.b === b ? two.d : reversed(two.d);
  return first + second.replace(/^M/, 'L');
}

/**
 * Where the ticket goes: as near to the packet as it can without covering what
 * matters, and if that is still good, where it was.
 * @param {Scene} scene
 * @param {Point} dot
 * @param {{ w: number, h: number }} size  of the ticket, in the scene's units
 * @param {Point | null} before            where it was
 * @returns {Point}
 */
export function placeTicket(scene, dot, size, before) {
  /** @type {{ box: Box, weight: number }[]} */
  const solid = [
    ...(scene.lane ? [{ box: scene.lane, weight: 3 }, ...scene.lane.gates.map((g) => ({ box: g, weight: 12 }))] : []),
    ...scene.rooms.filter((r) => r.side === 'main').map((r) => ({ box: { x: r.x, y: r.y, w: 240, h: 44 }, weight: 8 })),
    ...scene.bars.map((b) => ({ box: { x: b.x, y: b.y - 4, w: b.w + 112, h: 44 }, weight: 8 })),
    ...scene.bars.map((b) => ({ box: b, weight: 2 })),
    ...scene.rooms.filter((r) => r.side !== 'main').map((r) => ({ box: r, weight: 3 })),
    ...scene.ports.filter((p) => p.shape !== 'none').map((p) => ({ box: portBox(p), weight: 8 })),
    ...scene.rooms.filter((r) => r.side === 'main').flatMap((r) => [r.x - 8, r.x + r.w - 8].map((x) => ({ box: { x, y: r.y, w: 16, h: r.h }, weight: 2 }))),
    { box: { x: dot.x - 20, y: dot.y - 20, w: 40, h: 40 }, weight: 50 },
  ];
  /** @param {Point} at */
  const cost = ({ x, y }) => {
    const box = { x, y, w: size.w, h: size.h };
    let sum = 0;
    for (const s of solid) sum += overlap(box, s.box) * s.weight;
    const away = Math.hypot(Math.max(x - dot.x, 0, dot.x - x - size.w), Math.max(y - dot.y, 0, dot.y - y - size.h));
    return sum + away * 8;
  };
  const right = Math.max(8, scene.w - size.w - 8);
  const bottom = Math.max(8, scene.h - size.h - 8);
  let best = { x: 8, y: 8 };
  let least = Infinity;
  for (let y = 8; y <= bottom; y += 12) {
    for (let x = 8; x <= right; x += 12) {
      const c = cost({ x, y });
      if (c < least) [best, least] = [{ x, y }, c];
    }
  }
  if (before && before.x <= right && before.y <= bottom && cost(before) <= least + 900) return before;
  return best;
}

/** A port with its label and addresses. @param {import('./scene').Port} p @returns {Box} */
function portBox(p) {
  if (p.shape !== 'chip') return { x: p.x - 34, y: p.y - 20, w: 68, h: 44 };
  const addresses = p.addrs.length ? 116 : 0;
  return { x: p.x - p.w / 2 - (p.side === 'right' ? addresses : 0), y: p.y - 22, w: p.w + addresses + 8, h: 44 };
}

/** The area two boxes share. @param {Box} a @param {Box} b */
export function overlap(a, b) {
  const w = Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y);
  return w > 0 && h > 0 ? w * h : 0;
}
