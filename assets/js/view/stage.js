// The stage: the world as model/scene.js lays it out, and on it the packet.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../../vendor/htm-preact.js';
import { cardHead, layout, gone, mainNode } from '../model/scene.js';
import { gateOf, leg, spot, placeTicket } from '../model/travel.js';
import { byRule, isHook, outcome, playTime, routeWord, ruleWord, reason } from '../model/journey.js';
import { simulated } from '../model/compare.js';
import { beatsOf, currentBeat, currentBeats, currentColumns, currentTrace, currentTwin, lastBeat } from '../model/state.js';
import { usePage } from './context.js';
import { Kbd } from './text.js';
import { Ticket } from './ticket.js';

/** @import { Scene, Room, Port, Bar, Cable, Gate } from '../model/scene' */
/** @import { Beat } from '../model/journey' */
/** @import { Snapshot } from '../protocol' */

/** How long a thing that left is still seen, in milliseconds. */
const fade = 380;

export function Stage() {
  const { s, t } = usePage();
  const [size, setSize] = useState({ w: 1040, h: 560, wide: false });
  const frame = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useLayoutEffect(() => {
    const el = frame.current;
    if (!el) return;
    const measure = () => setSize({ w: el.clientWidth, h: el.clientHeight, wide: el.clientWidth > (el.parentElement?.clientWidth ?? 0) });
    measure();
    const seen = new ResizeObserver(measure);
    seen.observe(el);
    return () => seen.disconnect();
  }, []);

  const slots = useRef(new Map());
  const scene = useMemo(() => layout(s.snapshot, size, slots.current), [s.snapshot, size]);
  slots.current = scene.slots;
  const ghosts = useGhosts(scene);

  const list = currentBeats(s);
  const trace = currentTrace(s);
  const beat = list[currentBeat(s)];
  const twin = beatsOf(currentTwin(s));
  const other = twin.length && currentColumns(s).some((k) => k.index <= s.beat && k.differs.length) ? lastBeat(currentColumns(s), s.beat, 'model') : -1;
  const scale = Math.min(size.w / scene.w, size.h / scene.h);
  const offset = { x: (size.w - scene.w * scale) / 2, y: (size.h - scene.h * scale) / 2 };

  useEffect(() => { // where the stage is wider than the window, the packet stays in view
    const view = frame.current?.parentElement;
    if (!size.wide || !beat || !view) return;
    const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    view.scrollTo({ left: offset.x + spot(scene, list, beat.index).x * scale - view.clientWidth / 2, behavior: smooth ? 'smooth' : 'auto' });
  }, [trace?.id, beat?.index, size.wide]);

  return html`<section class="stage" aria-label=${t('stage')} tabindex=${size.wide ? 0 : undefined}><div class="board" ref=${frame}>
    <svg role="img" aria-label=${describe(s.snapshot, t)} viewBox=${`0 0 ${scene.w} ${scene.h}`} preserveAspectRatio="xMidYMid meet">
      <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" /></marker></defs>
      ${ghosts.rooms.filter((r) => r.side !== 'main').map((r) => html`<${RoomView} key=${`gone ${r.key}`} room=${r} ghost />`)}
      ${scene.rooms.filter((r) => r.side === 'main').map((r) => html`<${RoomView} key=${r.key} room=${r} />`)}
      ${scene.lane && html`<rect class="bed" x=${scene.lane.x} y=${scene.lane.y} width=${scene.lane.w} height=${scene.lane.h} rx="14" />`}
      ${trace && beat && html`<${Trail} scene=${scene} list=${list} to=${beat.index} inLane />`}
      ${scene.lane && html`<${LaneView} scene=${scene} list=${list} beat=${beat} />`}
      ${scene.rooms.filter((r) => r.side !== 'main').map((r) => html`<${RoomView} key=${r.key} room=${r} lit=${beat?.node === r.key} />`)}
      ${ghosts.cables.map((k) => html`<path key=${`gone ${k.key}`} d=${k.d} class=${`cable ${k.state} leaving`} />`)}
      ${scene.cables.map((k) => html`<path key=${k.key} d=${k.d} class=${`cable ${k.state}`} />`)}
      ${scene.junctions.map((j) => html`<g key=${j.key} class="junction"><circle cx=${j.x} cy=${j.y} r="4" /><text x=${j.lx} y=${j.ly} text-anchor="end">${j.name}</text></g>`)}
      ${ghosts.bars.map((b) => html`<${BarView} key=${`gone ${b.key}`} bar=${b} ghost />`)}
      ${scene.bars.map((b) => html`<${BarView} key=${b.key} bar=${b} />`)}
      ${ghosts.ports.map((p) => html`<${PortView} key=${`gone ${p.key}`} port=${p} ghost />`)}
      ${scene.ports.filter((p) => p.shape !== 'none').map((p) => html`<${PortView} key=${p.key} port=${p} />`)}
      ${other >= 0 && html`<${Shadow} scene=${scene} list=${twin} at=${other} />`}
      ${trace && beat && html`<${Packet} key=${trace.id} sim=${simulated(trace)} scene=${scene} list=${list} at=${beat.index} playing=${s.playing} failed=${outcome(trace) === 'bad'} />`}
    </svg>
    ${!s.snapshot && html`<p class="empty">${s.lab?.state === 'lost' ? t('stage.lost') : s.hello?.backend === 'none' ? t('stage.none') : t('stage.wait')}</p>`}
    ${trace && beat && html`<${PlacedTicket} scene=${scene} scale=${scale} offset=${offset} list=${list} beat=${beat} />`}
    <p class="sr" aria-live="polite">${trace && beat?.last ? reason(trace, s.lang) : ''}</p>
    ${trace && beat && s.beat === 0 && !s.playing && html`<p class="corner"><${Kbd} k="→" /> ${t('stage.hint')}</p>`}
  </div></section>`;
}

/** @param {Snapshot | null} snapshot @param {(key: string, args?: any) => string} t */
function describe(snapshot, t) {
  if (!snapshot) return t('stage');
  return t('stage.aria', {
    nodes: snapshot.nodes.filter((n) => n.kind !== 'switch').map((n) => n.name || t('unnamed')).join(', '),
    bridges: (mainNode(snapshot)?.links ?? []).filter((l) => l.type === 'bridge').map((l) => l.name).join(', ') || '–',
  });
}

/** What left the scene a moment ago. @param {Scene} scene */
function useGhosts(scene) {
  const before = useRef(scene);
  const timer = useRef(0); // outlasts the scene: more may change while things fade
  const [ghosts, set] = useState(/** @type {Pick<Scene, 'rooms' | 'cables' | 'bars' | 'ports'>} */ ({ rooms: [], cables: [], bars: [], ports: [] }));
  useLayoutEffect(() => {
    const old = before.current;
    before.current = scene;
    const now = {
      rooms: gone(old.rooms, scene.rooms), cables: gone(old.cables, scene.cables), bars: gone(old.bars, scene.bars),
      ports: gone(old.ports, scene.ports).filter((p) => p.shape !== 'none'),
    };
    if (!now.rooms.length && !now.cables.length && !now.bars.length && !now.ports.length) return;
    set(now);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set({ rooms: [], cables: [], bars: [], ports: [] }), fade);
  }, [scene]);
  return ghosts;
}

/** @param {string} x @param {string} y */
const at = (x, y) => ({ transform: `translate(${x}px,${y}px)` });
/** @param {{ x: number, y: number }} p */
const place = (p) => at(String(p.x), String(p.y));

/** @param {{ room: Room, lit?: boolean, ghost?: boolean }} props */
function RoomView({ room, lit, ghost }) {
  const { s, t } = usePage();
  const first = room.lines.find((l) => l.t === 'address');
  const colour = s.colours.get(first?.text.split('/')[0] ?? '') ?? 'none';
  const cls = `room ${room.side} ${room.unnamed ? 'unnamed' : ''} ${room.keeper ? 'kept' : ''} ${lit ? 'lit' : ''} ${ghost ? 'leaving' : ''} c-${colour}`;
  const key = `role.${room.name}`;
  const role = room.side === 'main' ? t('role.main') : room.unnamed && room.name ? (room.keeper ? t('role.kept', { pid: room.keeper }) : t('role.unmounted')) : t(key) !== key ? t(key) : t(`role.${room.kind}`);
  if (room.side === 'main') {
    return html`<g class=${cls}>
      <rect x=${room.x} y=${room.y} width=${room.w} height=${room.h} rx="18" />
      <text class="name" x=${room.x + 22} y=${room.y + 28}>${room.name || t('unnamed')}<tspan class="role" dx="9">${[role, ...room.sysctls].join(' · ')}</tspan></text>
    </g>`;
  }
  const head = cardHead(room.name || t('unnamed'), role, room.w);
  return html`<g class=${cls} style=${place(room)}>
    <rect width=${room.w} height=${room.h} rx="14" />
    <text class="name" x="16" y="25">${head.name}${head.role && html`<tspan class="role" dx="7">${head.role}</tspan>`}${head.role !== role && html`<title>${`${room.name || t('unnamed')} · ${role}`}</title>`}</text>
    ${room.lines.map((line, i) => html`<${CardText} key=${`${line.t} ${line.text}`} line=${line} y=${46 + i * 18} />`)}
    ${room.lines.length === 0 && html`<text class="dim" x="16" y="46">${t('card.empty')}</text>`}
  </g>`;
}

/** @param {{ line: import('../model/scene').CardLine, y: number }} props */
function CardText({ line, y }) {
  const { s, t } = usePage();
  switch (line.t) {
    case 'address': return html`<text class=${`mono ink c-${s.colours.get(line.text.split('/')[0]) ?? 'none'}`} x="16" y=${y}>${line.text}</text>`;
    case 'listen': return html`<text class="sub" x="16" y=${y}>${t('card.listen', { ports: line.text })}</text>`;
    case 'default': return html`<text class="dim" x="16" y=${y}>${t('card.default', { via: line.text })}</text>`;
    default: return html`<text class="dim" x="16" y=${y}>${t('card.lo')}</text>`;
  }
}

/** @param {{ scene: Scene, list: Beat[], beat: Beat | undefined }} props */
function LaneView({ scene, list, beat }) {
  const { s, t } = usePage();
  const lane = scene.lane;
  if (!lane) return null;
  const now = beat ? gateOf(scene, list, beat.index) : '';
  /** @type {Map<string, Beat>} the last beat at each gate, of the pass the packet is on */
  const passed = new Map();
  for (const b of list.slice(0, (beat?.index ?? -1) + 1)) {
    if (b.hop !== beat?.hop) continue;
    const g = gateOf(scene, list, b.index);
    if (g) passed.set(g, b);
  }
  const g = Object.fromEntries(lane.gates.map((x) => [x.id, x]));
  const mid = (/** @type {Gate} */ x) => x.y + x.h / 2;
  return html`<g class="lane">
    <text class="dim" x=${lane.x + 14} y=${lane.y + 16}>${t('lane.title')}</text>
    <g class="arrows">
      <path d=${`M${g.PREROUTING.x + g.PREROUTING.w} ${mid(g.PREROUTING)}H${g.route.x - 1}`} />
      <path d=${`M${g.route.x + g.route.w} ${mid(g.route)}H${g.FORWARD.x - 1}`} />
      <path d=${`M${g.FORWARD.x + g.FORWARD.w} ${mid(g.FORWARD)}H${g.POSTROUTING.x - 1}`} />
      <path class="minor" d=${`M${g.route.x + g.route.w / 2} ${g.route.y + g.route.h}V${g.INPUT.y - 1}`} />
      <path class="minor" d=${`M${g.INPUT.x + g.INPUT.w} ${mid(g.INPUT)}H${g.socket.x - 1}`} />
      <path class="minor" d=${`M${g.socket.x + g.socket.w} ${mid(g.socket)}H${g.OUTPUT.x - 1}`} />
      <path class="minor" d=${`M${g['route-out'].x + 6} ${g.OUTPUT.y}V${g.POSTROUTING.y + g.POSTROUTING.h + 1}`} />
    </g>
    ${lane.gates.map((x) => html`<${GateView} key=${x.id} gate=${x} beat=${passed.get(x.id)} now=${now === x.id} chains=${chainsOf(s.snapshot, scene.main, x.id, t)} />`)}
  </g>`;
}

/**
 * What waits at a gate when no packet is there: how many rules, and a policy
 * that drops.
 * @param {Snapshot | null} snapshot @param {string} node @param {string} id @param {(key: string, args?: any) => string} t
 */
function chainsOf(snapshot, node, id, t) {
  const chains = (snapshot?.nodes.find((n) => n.name === node)?.tables ?? []).flatMap((x) => (x.chains ?? []).filter((ch) => ch.name === id));
  const rules = chains.reduce((n, ch) => n + (ch.rules?.length ?? 0), 0);
  const drop = chains.some((ch) => ch.policy === 'DROP');
  return [rules ? t('gate.rules', { n: rules }) : drop ? '' : t('gate.norules'), drop ? t('gate.drop') : ''].filter(Boolean).join(' · ');
}

/** @param {{ gate: Gate, beat: Beat | undefined, now: boolean, chains: string }} props */
function GateView({ gate: g, beat, now, chains }) {
  const { s, t } = usePage();
  const cx = g.x + g.w / 2;
  const cy = g.y + g.h / 2;
  const step = beat?.step;
  const stops = Boolean(beat?.last && step && ['DROP', 'REJECT', 'policy DROP', 'no route'].includes(step.verdict ?? ''));
  const acts = Boolean(beat && (beat.rewrite || stops));
  const colour = acts && !stops ? (s.colours.get((beat?.before.src !== beat?.after.src ? beat?.after.src : beat?.after.dst) ?? '') ?? 'none') : 'none';
  const cls = `gate ${g.shape} ${beat && step?.evidence === 'simulated' ? 'sim' : ''} ${now ? 'now' : ''} ${beat ? 'passed' : ''} ${stops ? 'stop' : acts ? 'acted' : ''} c-${colour}`;
  if (g.shape === 'none') return null;
  if (g.shape === 'tiny') {
    return html`<g class=${cls}><path d=${`M${cx} ${cy - 7}L${cx + 9} ${cy}L${cx} ${cy + 7}L${cx - 9} ${cy}z`}><title>${t('point.route')}</title></path></g>`;
  }
  if (g.shape === 'diamond') {
    return html`<g class=${cls}>
      <path d=${`M${cx} ${g.y}L${g.x + g.w} ${cy}L${cx} ${g.y + g.h}L${g.x} ${cy}z`} />
      <text class="label" x=${cx} y=${cy - 1}>${t('point.route')}</text>
      <text class="what" x=${cx} y=${cy + 11}>${step ? routeWord(step, s.lang) : ''}</text>
    </g>`;
  }
  if (g.shape === 'small') {
    const label = g.id === 'lo' ? 'lo' : t('lane.processes');
    return html`<g class=${cls}><rect x=${g.x} y=${g.y} width=${g.w} height=${g.h} rx="7" /><text class="label" x=${cx} y=${cy + 4}>${label}</text></g>`;
  }
  const word = beat && step && (isHook(step) || byRule(step)) ? actWord(beat, s.lang, t) : beat ? ruleWord(beat, s.lang) : chains;
  const tall = g.h > 40;
  const grow = acts && tall ? 5 : 0;
  return html`<g class=${cls}>
    <rect x=${g.x} y=${g.y - grow} width=${g.w} height=${g.h + grow * 2} rx="8" />
    <text class="label" x=${cx} y=${cy + (tall ? -2 : -3)}>${g.label}</text>
    <text class="what" x=${cx} y=${cy + (tall ? 13 : 9)}>${word}</text>
  </g>`;
}

/** @param {Beat} b @param {import('../protocol').Lang} lang @param {(key: string) => string} t */
function actWord(b, lang, t) {
  if (b.step.verdict === 'policy DROP') return t('gate.drop');
  const word = ruleWord(b, lang, true);
  const verdict = b.step.rule ? b.step.verdict : byRule(b.step)?.verdict;
  return verdict ? `${word} · ${verdict}` : word;
}

/** @param {{ bar: Bar, ghost?: boolean }} props */
function BarView({ bar, ghost }) {
  const { s, t } = usePage();
  const colour = s.colours.get(bar.addrs[0]?.split('/')[0] ?? '') ?? 'none';
  return html`<g class=${`bar c-${colour} ${bar.tight ? 'tight' : ''} ${bar.up ? '' : 'down'} ${ghost ? 'leaving' : ''}`} style=${place(bar)}>
    <rect width=${bar.w} height=${bar.h} rx="8" />
    <text class="label" transform=${`translate(${bar.w / 2 + 4.5} ${bar.h / 2}) rotate(-90)`}>${bar.name}</text>
    ${bar.crowded ? html`<title>${[bar.name, ...bar.addrs].join(' · ')}</title>` : html`<text class="sub" x=${bar.w + 8} y="14">${t('point.bridge')}${bar.up ? '' : ' · down'}</text>`}
    ${!bar.crowded && bar.addrs.map((a, i) => html`<text key=${a} class=${`mono ink c-${s.colours.get(a.split('/')[0]) ?? 'none'}`} x=${bar.w + 8} y=${32 + i * 16}>${a}</text>`)}
  </g>`;
}

/** @param {{ port: Port, ghost?: boolean }} props */
function PortView({ port, ghost }) {
  const { s } = usePage();
  const colour = s.colours.get(port.addrs[0]?.split('/')[0] ?? '') ?? 'none';
  const cls = `port ${port.shape === 'chip' ? 'chip' : 'plug'} ${port.live ? 'live' : ''} ${port.up ? '' : 'down'} ${ghost ? 'leaving' : ''} c-${colour}`;
  if (port.shape === 'chip') {
    const out = port.side === 'right';
    return html`<g class=${cls} style=${place(port)}>
      <rect x=${-port.w / 2} y="-17" width=${port.w} height="34" rx="8" />
      <text class="label" y="4">${port.dev}</text>
      ${!port.up && html`<text class="dim under" y="30">down</text>`}
      ${out && html`<circle cx=${port.w / 2} r="5" />`}
      ${port.addrs.map((a, i) => html`<text key=${a} class=${`mono ink c-${s.colours.get(a.split('/')[0]) ?? 'none'}`} x=${out ? -port.w / 2 - 9 : port.w / 2 + 9} y=${4 + i * 16} text-anchor=${out ? 'end' : 'start'}>${a}</text>`)}
    </g>`;
  }
  return html`<g class=${cls} style=${place(port)}>
    <circle r="5" />
    <text class="sub" x=${port.lx - port.x} y=${port.ly - port.y} text-anchor=${port.anchor}>${port.dev}</text>
    ${!port.up && html`<text class="dim" x=${port.lx - port.x} y=${port.ly < port.y ? 16 : port.ly - port.y + 13} text-anchor=${port.anchor}>down</text>`}
  </g>`;
}

/**
 * The packet: the way it came, and the dot that moves along the last leg.
 * @param {{ scene: Scene, list: Beat[], at: number, playing: boolean, failed: boolean, sim: boolean }} props
 */
function Packet({ scene, list, at: index, playing, failed, sim }) {
  const { s } = usePage();
  const path = /** @type {{ current: SVGPathElement | null }} */ (useRef(null)); // the way the dot goes
  const trail = /** @type {{ current: SVGPathElement | null }} */ (useRef(null)); // what is seen of it
  const dot = /** @type {{ current: SVGGElement | null }} */ (useRef(null));
  const before = useRef(index);
  const [arrived, setArrived] = useState(true);

  useLayoutEffect(() => {
    const forward = index === before.current + 1;
    before.current = index;
    const line = path.current;
    const ball = dot.current;
    if (!line || !ball) return;
    const length = line.getTotalLength();
    /** @param {number} f */
    const put = (f) => {
      const p = line.getPointAtLength(length * f);
      ball.style.transform = `translate(${p.x}px,${p.y}px)`;
    };
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (!forward || still || length < 1) {
      put(1);
      setArrived(true);
      return;
    }
    const time = playing ? playTime(list, index) * 0.8 : Math.min(620, 260 + length * 0.8);
    const begin = performance.now();
    let frame = 0;
    setArrived(false);
    put(0);
    const ink = trail.current;
    const seen = ink?.getTotalLength() ?? 0;
    /** @param {number} f */
    const reveal = (f) => {
      if (!ink) return;
      ink.style.strokeDasharray = f < 1 ? `${seen}` : '';
      ink.style.strokeDashoffset = f < 1 ? `${seen * (1 - f)}` : '';
    };
    reveal(0);
    const tick = (/** @type {number} */ now) => {
      const f = Math.min(1, Math.max(0, (now - begin) / time));
      const eased = f < 0.5 ? 2 * f * f : 1 - (2 - 2 * f) ** 2 / 2;
      put(eased);
      reveal(eased);
      if (f < 1) frame = requestAnimationFrame(tick);
      else setArrived(true);
    };
    frame = requestAnimationFrame(tick);
    return () => { cancelAnimationFrame(frame); reveal(1); };
  }, [index, list]);

  useLayoutEffect(() => { // the world moved under the packet
    const p = spot(scene, list, index);
    if (arrived && dot.current) dot.current.style.transform = `translate(${p.x}px,${p.y}px)`;
  }, [scene]);

  const colourOf = (/** @type {string | undefined} */ a) => s.colours.get(a ?? '') ?? 'none';
  const beat = list[index];
  const header = arrived ? beat.after : beat.before;
  const dead = failed && beat.last && arrived;
  return html`<g class=${`journey ${sim ? 'sim' : ''}`}>
    <${Trail} scene=${scene} list=${list} to=${index} />
    <path ref=${path} class="guide" d=${leg(scene, list, index)} />
    <path ref=${trail} class=${`trail last c-${colourOf((list[index - 1] ?? beat).after.src)}`} d=${inLane(scene, list, index) ? '' : leg(scene, list, index, true)} />
    <g ref=${dot} class=${`dot c-${colourOf(header.src)} ${dead ? 'dead' : ''}`}>
      <circle r="10" />
      ${dead && html`<path d="M-4 -4L4 4M4 -4L-4 4" />`}
    </g>
  </g>`;
}

/**
 * Where the model has the packet, once it has parted from the kernel's.
 * @param {{ scene: Scene, list: Beat[], at: number }} props
 */
function Shadow({ scene, list, at: index }) {
  const { s, t } = usePage();
  const p = spot(scene, list, index);
  return html`<g class="journey sim shadow">
    <${Trail} scene=${scene} list=${list} to=${index + 1} />
    <g class=${`dot c-${s.colours.get(list[index].after.src ?? '') ?? 'none'}`} style=${place(p)}><circle r="9" /><text class="sub" x="13" y="-4">${t('mode.sim')}</text></g>
  </g>`;
}

/** Whether the way to a beat runs inside the lane, behind its gates. @param {Scene} scene @param {Beat[]} list @param {number} i */
const inLane = (scene, list, i) => i > 0 && list[i].hop === list[i - 1].hop && Boolean(gateOf(scene, list, i) && gateOf(scene, list, i - 1));

/**
 * The way so far, without the last leg.
 * @param {{ scene: Scene, list: Beat[], to: number, inLane?: boolean }} props
 */
function Trail({ scene, list, to, inLane: inside }) {
  const { s } = usePage();
  return html`<g class="way">${list.slice(1, to + (inside ? 1 : 0)).filter((b) => inLane(scene, list, b.index) === Boolean(inside)).map((b) => html`<path key=${b.index}
    class=${`trail c-${s.colours.get(list[b.index - 1].after.src ?? '') ?? 'none'}`} d=${leg(scene, list, b.index, true)} />`)}</g>`;
}

/** @param {{ scene: Scene, scale: number, offset: { x: number, y: number }, list: Beat[], beat: Beat }} props */
function PlacedTicket({ scene, scale, offset, list, beat }) {
  const box = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  const last = useRef(/** @type {{ x: number, y: number } | null} */ (null));
  const { s } = usePage();
  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const zoom = Math.max(0.88, scale);
    const size = { w: (el.offsetWidth * zoom) / scale, h: (el.offsetHeight * zoom) / scale };
    const p = placeTicket(scene, spot(scene, list, beat.index), size, last.current);
    last.current = p;
    el.style.transform = `translate(${offset.x + p.x * scale}px,${offset.y + p.y * scale}px) scale(${zoom})`;
  }, [scene, scale, offset.x, offset.y, list, beat.index, s.lang]);
  return html`<${Ticket} boxRef=${box} list=${list} beat=${beat} />`;
}

