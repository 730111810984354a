// Where everything on the stage is: a snapshot in, coordinates out.
//
//	 containers      host                                     machines
//	┌──────────┐   ┌───────────────────────────────────┐
//	│          │   │ PREROUTING ◇ FORWARD POSTROUTING  │
//	│          │   │  lo   INPUT  processes  OUTPUT    │   ┌──────────┐
//	│ ns1   ●──┼───┼─▌bridge                  [eth0]●──┼─┬─┼● internet│
//	└──────────┘   │                                   │ │ └──────────┘
//	               └───────────────────────────────────┘ └──● client
//
// Things keep their place when others come: containers take slots in order of
// arrival and hold them, the columns are there before anything is in them, and
// the heights do not depend on what is inside.

/** @import { Snapshot, Node, Link } from '../protocol' */

/**
 * @typedef {{ x: number, y: number }} Point
 * @typedef {{ x: number, y: number, w: number, h: number }} Box
 * @typedef {{ t: 'address' | 'listen' | 'default' | 'lo', text: string, dev?: string }} CardLine
 * @typedef {Box & { key: string, name: string, kind: string, side: 'left' | 'main' | 'right', unnamed: boolean, keeper?: number, netns?: number, lines: CardLine[], sysctls: string[] }} Room
 * @typedef {Box & { id: string, label: string, shape: 'box' | 'diamond' | 'small' | 'tiny' | 'none' }} Gate
 * @typedef {Box & { gates: Gate[] }} Lane
 * @typedef {Box & { key: string, node: string, name: string, up: boolean, addrs: string[], tight: boolean, crowded: boolean }} Bar
 * @typedef {Point & { key: string, node: string, dev: string, shape: 'dot' | 'chip' | 'none', side: 'left' | 'right' | 'free', lx: number, ly: number, anchor: string, up: boolean, live: boolean, addrs: string[], w: number }} Port
 * @typedef {{ key: string, a: string, b: string, d: string, state: 'up' | 'down' | 'loose', port?: string }} Cable
 * @typedef {Point & { key: string, name: string, lx: number, ly: number }} Junction
 * @typedef {{ w: number, h: number, rooms: Room[], main: string, lane: Lane | null, bars: Bar[], ports: Port[], cables: Cable[], junctions: Junction[], slots: Map<string, number> }} Scene
 */

const cardW = 166;
const sideW = 178;
const pitch = 112;

/**
 * About how wide a text is in the page's sans font, in the same unit as size;
 * what is not Latin is as wide as high.
 * @param {string} text
 * @param {number} size
 */
export const textWidth = (text, size) => [...text].reduce((sum, ch) => sum + (ch > '\u2e80' ? 1 : /[mwMW_]/.test(ch) ? 0.86 : /[ijlrtf.:|1 ]/.test(ch) ? 0.37 : 0.6), 0) * size;

/**
 * What of a card's head fits into its width: the name, shortened if need be,
 * and its role if there is room for all of that.
 * @param {string} name
 * @param {string} role
 * @param {number} w  of the card
 */
export function cardHead(name, role, w) {
  const room = w - 28;
  const all = textWidth(name, 13);
  if (all + 7 + textWidth(role, 11) <= room) return { name, role };
  let end = name.length;
  while (end > 1 && textWidth(`${name.slice(0, end)}…`, 13) > room) end--;
  return { name: all <= room ? name : `${name.slice(0, end)}…`, role: '' };
}

/** @param {Node} n */
export const nodeKey = (n) => n.name || `#${n.netns ?? 0}`;

/**
 * The node in the middle: the machine that plays the Docker host.
 * @param {Snapshot | null} s
 */
export function mainNode(s) {
  const machines = (s?.nodes ?? []).filter((n) => n.kind === 'machine');
  return machines.find((n) => n.name === 'host') ?? machines[0] ?? s?.nodes.find((n) => n.kind !== 'switch') ?? null;
}

/** @param {Link} l */
const bare = (l) => (l.addrs ?? []).map((a) => a.prefix).filter((p) => !p.startsWith('127.'));

/** @param {string} prefix */
const trim = (prefix) => prefix.replace(/\/32$/, '');

/**
 * @param {Node} n
 * @returns {CardLine[]}
 */
function cardLines(n) {
  /** @type {CardLine[]} */
  const lines = [];
  const links = [...(n.links ?? [])].sort((a, b) => Number(b.type === 'loopback') - Number(a.type === 'loopback'));
  for (const l of links) {
    for (const p of bare(l)) lines.push({ t: 'address', text: trim(p), dev: l.name });
  }
  // 127.0.0.11 is Docker's name server, in every container of a network that somebody made
  const sockets = [...new Set((n.listeners ?? []).filter((s) => s.addr !== '127.0.0.11').map((s) => `${s.proto}/${s.port}`))];
  if (sockets.length) lines.push({ t: 'listen', text: sockets.slice(0, 3).join(', ') + (sockets.length > 3 ? ' …' : '') });
  const def = (n.routes ?? []).find((r) => r.table === 254 && r.dst === '0.0.0.0/0');
  if (def && n.kind === 'container') lines.push({ t: 'default', text: def.via || def.dev || '' });
  const lo = links.find((l) => l.type === 'loopback');
  if (lo && !lo.up) lines.push({ t: 'lo', text: 'lo' });
  return lines.slice(0, 4);
}

/**
 * Room for the lines, and for the ends at the card's edge.
 * @param {CardLine[]} lines
 * @param {Node} n
 */
function cardHeight(lines, n) {
  const ends = (n.links ?? []).filter((l) => l.type !== 'loopback').length;
  return Math.max(58, 40 + lines.length * 18, n.kind === 'container' && ends > 2 ? Math.min(112, 26 + ends * 18) : 0);
}

/**
 * The namespaces in which a Docker daemon keeps what would balance a swarm's
 * services, and the network of it that only joins those: nothing of a lab goes
 * through them, and the stage is left to the others. The tables have them.
 * @param {Snapshot} s
 * @returns {Set<string>}
 */
export function backstage(s) {
  const boxes = s.nodes.filter((n) => n.kind === 'container' && n.mounted && /^(lb_|ingress_sbox)/.test(n.name));
  const names = new Set(boxes.map((n) => n.name));
  const only = s.nodes.filter((n) => {
    const ends = (n.links ?? []).filter((l) => l.type === 'veth');
    return n.kind === 'container' && ends.length && ends.every((l) => names.has(l.peerNode ?? ''));
  });
  return new Set([...boxes, ...only].map(nodeKey));
}

/**
 * @param {Snapshot | null} snapshot
 * @param {{ w: number, h: number }} size
 * @param {Map<string, number>} [held]  the slots containers had before
 * @returns {Scene}
 */
export function layout(snapshot, size, held = new Map()) {
  // a large screen shows it larger, not emptier; a small one shows all of it, smaller
  const zoom = Math.max(1, Math.min(size.w / 1180, size.h / 600, 1.7));
  const w = Math.max(size.w / zoom, 1000);
  const h = Math.max(size.h / zoom, 468);
  const main = mainNode(snapshot);
  /** @type {Scene} */
  const scene = { w, h, rooms: [], main: main ? nodeKey(main) : '', lane: null, bars: [], ports: [], cables: [], junctions: [], slots: new Map() };
  if (!snapshot || !main) return scene;

  const gap = Math.min(120, Math.max(56, w * 0.058));
  const left = Math.max(24, (w - 1500) / 2 + 24);
  const hostL = left + cardW + gap;
  const rightX = w - left - sideW;
  const hostR = rightX - gap - 6;
  const hostT = Math.min(34, h * 0.05);
  const hostB = h - Math.min(40, h * 0.05);

  // The host, its lane, its bridges.
  const mid = nodeKey(main);
  scene.rooms.push({
    key: mid, name: main.name, kind: main.kind, side: 'main', unnamed: !main.name, netns: main.netns,
    x: hostL, y: hostT, w: hostR - hostL, h: hostB - hostT, lines: [], sysctls: sysctlsOf(main),
  });
  const lane = makeLane(hostL + 16, hostT + 46, hostR - hostL - 32);
  scene.lane = lane;
  const laneB = lane.y + lane.h;
  const barT = laneB + Math.max(48, Math.min(78, (hostB - laneB) * 0.26));
  const barB = hostB - Math.max(22, Math.min(38, h * 0.06));
  const bridges = (main.links ?? []).filter((l) => l.type === 'bridge');
  // Three stand as far apart as their addresses need; more of them, closer.
  const apart = Math.min(142, (hostR - hostL - 256) / Math.max(2, bridges.length - 1));
  const tight = bridges.length > 1;
  /** @param {string} a */
  const fits = (a) => 42 + a.length * 6.3 + 6 < apart;
  for (const [i, l] of bridges.entries()) {
    const addrs = bare(l).map((a) => (!tight || fits(a) ? a : a.split('/')[0]));
    scene.bars.push({
      key: `${mid}|${l.name}`, node: mid, name: l.name, up: l.up, addrs, tight, crowded: i < bridges.length - 1 && !addrs.every(fits),
      x: hostL + 50 + i * apart, y: barT, w: 34, h: barB - barT,
    });
  }

  // Containers: slots at the left, from beside the bridge downwards, then above.
  const c0 = barT + Math.min(34, (barB - barT) / 2);
  const slotY = slotPositions(c0, h);
  const away = backstage(snapshot);
  const guests = snapshot.nodes.filter((n) => n !== main && n.kind === 'container' && !away.has(nodeKey(n)));
  // Those of another machine stand below it, while there is room.
  const machines = snapshot.nodes.filter((n) => n !== main && n.kind === 'machine');
  let free = h - 24 - machines.reduce((sum, n) => sum + cardHeight(cardLines(n), n) + 20, -20);
  /** @type {Map<string, Node[]>} */
  const elsewhere = new Map();
  for (const n of [...guests]) {
    const its = machines.find((m) => m.name === n.machine);
    const need = cardHeight(cardLines(n), n) + 20;
    if (!its || need > free) continue;
    free -= need;
    elsewhere.set(its.name, [...(elsewhere.get(its.name) ?? []), n]);
    guests.splice(guests.indexOf(n), 1);
  }
  for (const n of guests) {
    const slot = held.get(nodeKey(n));
    if (slot !== undefined) scene.slots.set(nodeKey(n), slot);
  }
  for (const n of guests) {
    if (scene.slots.has(nodeKey(n))) continue;
    const used = new Set(scene.slots.values());
    let slot = 0;
    while (used.has(slot)) slot++;
    scene.slots.set(nodeKey(n), slot);
  }
  for (const n of guests) {
    const slot = /** @type {number} */ (scene.slots.get(nodeKey(n)));
    const lines = cardLines(n);
    const ch = cardHeight(lines, n);
    scene.rooms.push({
      key: nodeKey(n), name: n.name, kind: n.kind, side: 'left', unnamed: !n.name || !n.mounted, keeper: n.mounted ? 0 : n.keeper ?? 0, netns: n.netns,
      x: left, y: slotY[slot % slotY.length] - 46, w: cardW, h: ch, lines, sysctls: [],
    });
  }

  // Other machines: at the right, the host's gateway level with the host's own door.
  const doorY = (barT + barB) / 2;
  const gateway = (main.routes ?? []).find((r) => r.dst === '0.0.0.0/0')?.via;
  /** @param {Node} n */
  const owns = (n) => Boolean(gateway && (n.links ?? []).some((l) => (l.addrs ?? []).some((a) => a.prefix.split('/')[0] === gateway)));
  const others = machines.sort((a, b) => Number(owns(b)) - Number(owns(a))).flatMap((m) => [m, ...(elsewhere.get(m.name) ?? [])]);
  let y = doorY - 46;
  const total = others.reduce((sum, n) => sum + cardHeight(cardLines(n), n) + 20, -20);
  if (y + total > h - 12) y = Math.max(12, h - 12 - total);
  for (const n of others) {
    const lines = cardLines(n);
    const ch = cardHeight(lines, n);
    scene.rooms.push({
      key: nodeKey(n), name: n.name, kind: n.kind, side: 'right', unnamed: !n.name || (n.kind === 'container' && !n.mounted),
      keeper: n.kind === 'container' && !n.mounted ? n.keeper ?? 0 : 0, netns: n.netns,
      x: rightX, y, w: sideW, h: ch, lines, sysctls: [],
    });
    y += ch + 20;
  }

  placeLinks(snapshot, scene, away, { doorY, junctionX: hostR + (rightX - hostR) * 0.36, barB });
  return scene;
}

/**
 * @param {number} c0
 * @param {number} h
 */
function slotPositions(c0, h) {
  const out = [c0];
  for (let y = c0 + pitch; y + 54 <= h - 8; y += pitch) out.push(y);
  for (let y = c0 - pitch - 6; y - 46 >= 4; y -= pitch) out.push(y);
  return out;
}

/** @param {Node} n */
function sysctlsOf(n) {
  const s = n.sysctls ?? {};
  const out = [];
  if (s['net.ipv4.ip_forward'] !== undefined) out.push(`ip_forward = ${s['net.ipv4.ip_forward']}`);
  if (s['net.ipv4.conf.all.route_localnet'] === '1') out.push('route_localnet = 1');
  return out;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} w
 * @returns {Lane}
 */
function makeLane(x, y, w) {
  const gw = Math.min(116, (w - 28 - 68 - 36) / 3);
  const arrow = (w - 28 - 3 * gw - 68) / 3;
  const cy = y + 59; // room above the gates for the packet, below the lane's title
  const low = y + 117;
  const pre = x + 14 + gw / 2;
  const route = pre + gw / 2 + arrow + 34;
  const fwd = route + 34 + arrow + gw / 2;
  const post = x + w - 14 - gw / 2;
  const out = post - 12;
  /** @param {string} id @param {number} cx @param {number} cy_ @param {number} w_ @param {number} h_ @param {Gate['shape']} shape @returns {Gate} */
  const gate = (id, cx, cy_, w_, h_, shape) => ({ id, label: id, x: cx - w_ / 2, y: cy_ - h_ / 2, w: w_, h: h_, shape });
  return {
    x, y, w, h: 143,
    gates: [
      gate('PREROUTING', pre, cy, gw, 46, 'box'),
      gate('route', route, cy, 68, 54, 'diamond'),
      gate('FORWARD', fwd, cy, gw, 46, 'box'),
      gate('POSTROUTING', post, cy, gw, 46, 'box'),
      gate('handover', pre + gw / 2 + arrow / 2, cy, 0, 0, 'none'),
      gate('lo', pre, low, 46, 24, 'small'),
      gate('INPUT', route, low, 96, 34, 'box'),
      gate('socket', (route + out) / 2 - 10, low, Math.min(110, out - route - 96 - 42), 28, 'small'),
      gate('route-local', out - 48 - 17, low, 14, 14, 'tiny'),
      gate('OUTPUT', out, low, 96, 34, 'box'),
      gate('route-out', post, (cy + low) / 2 + 4, 14, 14, 'tiny'),
    ],
  };
}

/**
 * Ports and cables.
 * @param {Snapshot} snapshot
 * @param {Scene} scene
 * @param {Set<string>} away  nodes that are not on the stage
 * @param {{ doorY: number, junctionX: number, barB: number }} at
 */
function placeLinks(snapshot, scene, away, at) {
  const nodes = new Map(snapshot.nodes.map((n) => [nodeKey(n), n]));
  const rooms = new Map(scene.rooms.map((r) => [r.key, r]));
  const main = /** @type {Room} */ (rooms.get(scene.main));
  const macs = new Map();
  for (const n of nodes.values()) for (const l of n.links ?? []) macs.set(l.mac, (macs.get(l.mac) ?? 0) + 1);
  /** @param {string} node @param {Link} l */
  const portKey = (node, l) => (l.mac && macs.get(l.mac) === 1 ? l.mac : `${node}|${l.name}`);
  /** @param {Link} l */
  const peerOf = (l) => nodes.get(l.peerNode ?? '')?.links?.find((p) => p.name === l.peerName);

  /** @type {Map<string, Port>} */
  const byName = new Map();
  /** @param {string} node @param {Link} l @param {Partial<Port> & Point} p */
  const put = (node, l, p) => {
    /** @type {Port} */
    const port = {
      key: portKey(node, l), node, dev: l.name, shape: 'dot', side: 'free', lx: p.x, ly: p.y - 10, anchor: 'middle',
      up: l.up, live: l.up && l.carrier, addrs: bare(l), w: Math.max(50, 20 + l.name.length * 7.4), ...p,
    };
    byName.set(`${node}|${l.name}`, port);
    scene.ports.push(port);
    return port;
  };

  // Ends at the cards.
  for (const room of scene.rooms) {
    if (room.side === 'main') continue;
    const n = nodes.get(room.key);
    const ends = (n?.links ?? []).filter((l) => l.type !== 'loopback' && !away.has(l.peerNode ?? '')).sort((a, b) => a.index - b.index);
    const apart = ends.length > 2 ? Math.min(30, (room.h - 26) / (ends.length - 1)) : 30;
    for (const [i, l] of ends.entries()) {
      const y = room.y + (ends.length > 2 ? 14 + i * apart : 46 + (i - (ends.length > 1 ? 0.5 : 0)) * 30);
      const x = room.side === 'left' ? room.x + room.w : room.x;
      const toRight = room.side === 'left';
      put(room.key, l, { x, y, side: room.side, lx: toRight ? x + 9 : x - 9, ly: y - 9, anchor: toRight ? 'start' : 'end' });
    }
  }
  // Switches: every port is the junction itself.
  let nth = 0;
  for (const n of nodes.values()) {
    if (n.kind !== 'switch') continue;
    const jy = at.doorY + nth++ * 26;
    scene.junctions.push({ key: nodeKey(n), name: n.name, x: at.junctionX, y: jy, lx: at.junctionX - 4, ly: jy - 9 });
    for (const l of n.links ?? []) {
      if (l.type !== 'loopback') put(nodeKey(n), l, { x: at.junctionX, y: jy, shape: 'none' });
    }
  }
  // The host's own.
  const bars = new Map(scene.bars.filter((b) => b.node === scene.main).map((b) => [b.name, b]));
  const host = nodes.get(scene.main);
  const links = (host?.links ?? []).filter((l) => l.type !== 'loopback' && l.type !== 'bridge').sort((a, b) => a.index - b.index);
  let door = 0;
  let loose = 0;
  const pairs = new Set();
  for (const l of links) {
    const bar = bars.get(l.master ?? '');
    const peerRoom = rooms.get(l.peerNode ?? '');
    const peerPort = byName.get(`${l.peerNode}|${l.peerName}`);
    if (bar) {
      const hidden = away.has(l.peerNode ?? '');
      const py = peerPort && peerRoom?.side === 'left' ? peerPort.y : hidden ? bar.y + bar.h - 24 : bar.y + 24 + loose++ * 26;
      const y = Math.max(bar.y + 14, Math.min(bar.y + bar.h - 14, py));
      put(scene.main, l, { x: bar.x, y, side: 'left', lx: bar.x - 8, ly: y + 17, anchor: 'end' });
    } else if (peerRoom?.side === 'left' && peerPort) {
      const p = put(scene.main, l, { x: main.x, y: Math.max(main.y + 220, peerPort.y), shape: 'chip', side: 'left' });
      peerPort.ly = peerPort.y - 22; // clear of the chip
      if (!bars.size) p.x = main.x + p.w / 2; // beside a bridge the chip stands on the wall
    } else if (l.peerNode === scene.main && peerOf(l)) {
      const name = [l.name, l.peerName].sort().join(' ');
      const row = [...pairs].indexOf(name);
      const k = row < 0 ? pairs.size : row;
      pairs.add(name);
      const first = l.name < (l.peerName ?? '');
      put(scene.main, l, { x: main.x + (first ? 270 : 128), y: at.barB - 18 - k * 46, shape: 'chip', side: 'free' });
    } else if (peerPort || l.type !== 'veth') {
      const p = put(scene.main, l, { x: 0, y: at.doorY + door++ * 46, shape: 'chip', side: 'right' });
      p.x = main.x + main.w - p.w / 2;
    } else {
      put(scene.main, l, { x: main.x, y: at.doorY + 46 * loose++, shape: 'chip', side: 'left' });
    }
  }

  // Cables join what is a pair; the rest ends in the air.
  const drawn = new Set();
  for (const n of nodes.values()) {
    for (const l of n.links ?? []) {
      if (l.type !== 'veth') continue;
      const a = byName.get(`${nodeKey(n)}|${l.name}`);
      if (!a) continue;
      const b = byName.get(`${l.peerNode}|${l.peerName}`);
      if (!b && away.has(l.peerNode ?? '')) continue;
      const key = [a.key, b?.key ?? 'loose'].sort().join(' ');
      if (drawn.has(key)) continue;
      drawn.add(key);
      if (b) {
        const [from, to] = a.x <= b.x ? [a, b] : [b, a];
        scene.cables.push({ key, a: `${from.node}|${from.dev}`, b: `${to.node}|${to.dev}`, d: cablePath(from, to), state: a.live && b.live ? 'up' : 'down' });
      } else {
        const s = a.side === 'right' && a.node !== scene.main ? -1 : a.side === 'left' && a.node === scene.main ? -1 : 1;
        const x = a.x + (a.shape === 'chip' ? (s * a.w) / 2 : 0);
        scene.cables.push({ key, a: `${a.node}|${a.dev}`, b: '', state: 'loose', d: `M${x} ${a.y}C${x + s * 16} ${a.y} ${x + s * 20} ${a.y + 4} ${x + s * 26} ${a.y + 20}` });
      }
    }
  }
}

/** Where a cable meets a port, seen from the other end. @param {Port} p @param {Port} other @returns {Point} */
function edge(p, other) {
  if (p.shape !== 'chip') return p;
  return { x: p.x + (other.x < p.x ? -p.w / 2 : p.w / 2), y: p.y };
}

/** @param {Port} from @param {Port} to */
function cablePath(from, to) {
  const a = edge(from, to);
  const b = edge(to, from);
  const flat = Math.abs(a.y - b.y) < 1;
  if (from.shape === 'none' || to.shape === 'none') {
    // to or from a junction: square corners
    if (flat) return `M${r(a.x)} ${r(a.y)}L${r(b.x)} ${r(b.y)}`;
    const [j, p] = from.shape === 'none' ? [a, b] : [b, a];
    const down = Math.sign(p.y - j.y);
    const side = Math.sign(p.x - j.x);
    const d = `M${r(j.x)} ${r(j.y)}L${r(j.x)} ${r(p.y - down * 14)}C${r(j.x)} ${r(p.y - down * 6)} ${r(j.x + side * 6)} ${r(p.y)} ${r(j.x + side * 14)} ${r(p.y)}L${r(p.x)} ${r(p.y)}`;
    return from.shape === 'none' ? d : reversed(d);
  }
  if (from.node !== to.node && from.side === to.side && Math.abs(a.x - b.x) < 1) { // from card to card, beside both
    const x = a.x + (from.side === 'left' ? 34 : -34);
    return `M${r(a.x)} ${r(a.y)}C${r(x)} ${r(a.y)} ${r(x)} ${r(b.y)} ${r(b.x)} ${r(b.y)}L${r(b.x)} ${r(b.y)}`;
  }
  const k = Math.min(60, Math.abs(b.x - a.x) / 2);
  return `M${r(a.x)} ${r(a.y)}C${r(a.x + k)} ${r(a.y)} ${r(b.x - k)} ${r(b.y)} ${r(b.x)} ${r(b.y)}L${r(b.x)} ${r(b.y)}`;
}

/**
 * The same path from its other end. Knows the commands that scene.js writes: M, C, L.
 * @param {string} d
 */
export function reversed(d) {
  const parts = [...d.matchAll(/([MCL])([^MCL]+)/g)].map(([, c, nums]) => ({ c, n: nums.trim().split(/[\s,]+/).map(Number) }));
  let out = '';
  for (let i = parts.length - 1; i >= 0; i--) {
    const { c, n } = parts[i];
    const [x, y] = n.slice(-2);
    if (i === parts.length - 1) out = `M${x} ${y}`;
    if (c === 'M') continue;
    const [px, py] = parts[i - 1].n.slice(-2);
    out += c === 'C' ? `C${n[2]} ${n[3]} ${n[0]} ${n[1]} ${px} ${py}` : `L${px} ${py}`;
  }
  return out;
}

/** @param {number} n */
const r = (n) => Math.round(n * 10) / 10;

/**
 * What is in one list and not in the other, by key: things that just left, to
 * be shown fading for a moment.
 * @template {{ key: string }} T
 * @param {T[]} before
 * @param {T[]} now
 * @returns {T[]}
 */
export function gone(before, now) {
  const keys = new Set(now.map((t) => t.key));
  return before.filter((t) => !keys.has(t.key));
}
