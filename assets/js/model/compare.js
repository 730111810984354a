// The model's journey beside the kernel's, point by point.
//
//	kernel   ns1 tx   host rx   PREROUTING   route   FORWARD   POSTROUTING   tx …
//	model    ns1 tx   host rx   PREROUTING   route   FORWARD ≠
//	columns  =        =         =            =       ≠         ≠             ≠
//
// What is compared is what a journey is about: where the packet came, which
// rule decided there, its addresses, ports and TTL. A port that the sender's
// kernel picks at random (ip_local_port_range, from 32768) equals any other.
// A point where nothing was decided, and that only one side reports, is no
// difference: the kernel does not report every such point.
//
// Whether a command came otherwise than foreseen is the server's word
// (Command.differs, by package agree); here it is found where.

import { around, beats, byRule, endpoint, first, isHook, reason, routeWord, ruleWord } from './journey.js';
import { translate } from './i18n.js';

/** @import { Command, Lang, StepRun, Trace } from '../protocol' */
/** @import { Beat } from './journey' */

/**
 * @typedef {'point' | 'src' | 'dst' | 'ttl' | 'rule' | 'route'} Field
 * @typedef {object} Column
 * @property {number} index
 * @property {Beat | null} kernel
 * @property {Beat | null} model
 * @property {Field[]} differs  empty where the two agree, or one has nothing to say
 */

/** Whether this is the model's word. @param {Trace | null | undefined} t */
export const simulated = (t) => t?.evidence === 'simulated';

/** What names a point: equal for the same one in two journeys. @param {Beat} b */
function place(b) {
  const s = b.step;
  const point = s.point === 'conntrack' ? (s.chain ?? '') : s.point;
  return `${b.node} ${point} ${s.point === 'rx' || s.point === 'tx' || s.point === 'bridge' ? (s.dev ?? '') : ''}${s.before.outer ? ' around' : ''}`;
}

/** @param {Beat} b */
function decisive(b) {
  const s = b.step;
  if (s.point === 'rx' || s.point === 'tx') return true;
  if (b.rewrite) return true;
  return isHook(s) ? !['', 'pass', 'ACCEPT', 'policy ACCEPT'].includes(s.verdict ?? '') || Boolean(s.rule) : s.verdict === 'no route';
}

/** @param {number | undefined} p */
const port = (p) => ((p ?? 0) >= 32768 ? 'any' : (p ?? 0));

/** @param {Beat} a @param {Beat} b @returns {Field[]} */
function unlike(a, b) {
  /** @type {Field[]} */
  const list = [];
  const [x, y] = [around(a.after), around(b.after)];
  if (x.src !== y.src || port(x.sport) !== port(y.sport)) list.push('src');
  if (x.dst !== y.dst || port(x.dport) !== port(y.dport)) list.push('dst');
  if ((x.ttl ?? 0) !== (y.ttl ?? 0)) list.push('ttl');
  if (a.step.point === 'route') {
    if ((a.step.verdict ?? '') !== (b.step.verdict ?? '') || (a.step.dev ?? '') !== (b.step.dev ?? '')) list.push('route');
  } else if (decided(a) !== decided(b)) list.push('rule');
  return list;
}

/** What a chain decided, and by which rule. @param {Beat} b */
function decided(b) {
  const s = b.step;
  const by = byRule(s);
  if (by) return `${by.table} ${by.chain} ${by.rule}`;
  if (!isHook(s) || !decisive(b)) return '';
  return s.rule ? `${s.table} ${s.chain || s.point} ${s.rule}` : `${s.verdict}`;
}

/**
 * @param {Beat[]} kernel
 * @param {Beat[]} model
 * @returns {Column[]}
 */
export function align(kernel, model) {
  const a = kernel.map(place);
  const b = model.map(place);
  // the longest common subsequence: what both came to, in the same order
  const best = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  /** @type {Column[]} */
  const out = [];
  const put = (/** @type {Beat | null} */ k, /** @type {Beat | null} */ m) => {
    const one = k ?? m;
    const differs = k && m ? unlike(k, m) : one && decisive(one) ? /** @type {Field[]} */ (['point']) : [];
    out.push({ index: out.length, kernel: k, model: m, differs });
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) put(kernel[i++], model[j++]);
    else if (i < a.length && (j >= b.length || best[i + 1][j] >= best[i][j + 1])) put(kernel[i++], null);
    else put(null, model[j++]);
  }
  return out;
}

/** Whether two journeys ended differently. @param {Trace} a @param {Trace} b */
export const endsDiffer = (a, b) => a.disposition !== b.disposition || a.node !== b.node;

/** What a packet is called in both worlds. @param {Trace} t */
function name(t) {
  const h = first(t);
  return `${t.summary.replace(/ is-at .*/, ' is-at')} ${h?.src} ${port(h?.sport)} ${h?.dst} ${port(h?.dport)} ${t.reply}`;
}

/**
 * Which journey of the model is which of the kernel's, by ID: within a command,
 * the first of a name goes with the first, the second with the second.
 * @param {Command[] | null | undefined} kernel
 * @param {Command[] | null | undefined} model
 * @returns {Map<string, Trace>} both ways
 */
export function twins(kernel, model) {
  /** @type {Map<string, Trace>} */
  const out = new Map();
  for (const k of kernel ?? []) {
    const waiting = [...(model?.find((m) => m.index === k.index)?.traces ?? [])];
    for (const t of [...(k.traces ?? [])].sort((x, y) => x.start - y.start)) {
      const i = waiting.findIndex((w) => name(w) === name(t));
      if (i < 0) continue;
      out.set(t.id, waiting[i]);
      out.set(waiting[i].id, t);
      waiting.splice(i, 1);
    }
  }
  return out;
}

/**
 * A journey that the other side may lack without being wrong: ARP depends on
 * when an entry was last confirmed, and bare acknowledgements on timers.
 * @param {Trace} t
 */
const incidental = (t) => first(t)?.proto === 'arp' || t.summary === 'TCP ACK';

/**
 * @typedef {object} Disagreement
 * @property {'end' | 'point' | 'model' | 'kernel' | 'status' | 'printed' | 'journey' | 'state'} kind
 * @property {Trace} [kernel]
 * @property {Trace} [model]
 * @property {Column} [column]
 * @property {Command} [command]   as the kernel ran it
 * @property {string} [expected]
 * @property {string} [found]
 */

/**
 * Where a step came otherwise than the model had said, worst first.
 * @param {StepRun | undefined} run
 * @returns {Disagreement[]}
 */
export function disagreements(run) {
  const forecast = run?.forecast;
  if (!run || !forecast || (run.state !== 'done' && run.state !== 'failed')) return [];
  /** @type {Disagreement[]} */
  const out = [];
  const pairs = twins(run.commands, forecast.commands);
  for (const m of forecast.commands ?? []) {
    const k = run.commands?.find((c) => c.index === m.index);
    if (!k || m.missing) continue;
    if (m.differs?.includes('status')) out.push({ kind: 'status', command: k, expected: String(m.status), found: String(k.status) });
    else if (m.differs?.some((d) => d === 'stdout' || d === 'stderr')) out.push({ kind: 'printed', command: k });
    if (!m.differs?.includes('journey')) continue;
    const before = out.length;
    for (const t of k.traces ?? []) {
      const twin = pairs.get(t.id);
      if (!twin) {
        if (!incidental(t)) out.push({ kind: 'kernel', kernel: t });
        continue;
      }
      const column = align(beats(t), beats(twin)).find((c) => c.differs.length);
      if (endsDiffer(t, twin)) out.push({ kind: 'end', kernel: t, model: twin, column });
      else if (column) out.push({ kind: 'point', kernel: t, model: twin, column });
    }
    for (const t of m.traces ?? []) if (!pairs.has(t.id) && !incidental(t)) out.push({ kind: 'model', model: t });
    if (out.length === before) out.push({ kind: 'journey', command: k });
  }
  for (const d of forecast.differences ?? []) out.push({ kind: 'state', expected: d.model, found: d.kernel });
  return out;
}

/**
 * A disagreement in words.
 * @param {Disagreement} d
 * @param {Lang} lang
 */
export function words(d, lang) {
  const packet = packetName(d.kernel ?? d.model);
  switch (d.kind) {
    case 'status': return translate(lang, 'differ.status', { command: d.command?.text, expected: d.expected, found: d.found });
    case 'printed': return translate(lang, 'differ.printed', { command: d.command?.text });
    case 'journey': return translate(lang, 'differ.journey', { command: d.command?.text });
    case 'state': return translate(lang, d.expected && d.found ? 'differ.state' : d.found ? 'differ.more' : 'differ.less', { expected: d.expected, found: d.found });
    case 'kernel': return translate(lang, 'differ.kernel', { packet });
    case 'model': return translate(lang, 'differ.model', { packet });
    case 'end': return translate(lang, 'differ.end', { packet, expected: d.model && reason(d.model, lang), found: d.kernel && reason(d.kernel, lang) });
    default: {
      const b = d.column?.kernel ?? d.column?.model;
      return translate(lang, 'differ.point', {
        packet, node: b?.node, point: b ? pointName(b, lang) : '',
        expected: said(d.column?.model, d.column?.differs ?? [], lang), found: said(d.column?.kernel, d.column?.differs ?? [], lang),
      });
    }
  }
}

/** @param {Trace | undefined} t */
function packetName(t) {
  const h = t && first(t);
  return t ? `${t.summary}${h?.src ? ` ${h.src} → ${h.dst}` : ''}` : '';
}

/** @param {Beat} b @param {Lang} lang */
export function pointName(b, lang) {
  const s = b.step;
  if (s.point === 'conntrack') return s.chain ?? 'conntrack';
  const known = translate(lang, `point.${s.point}`);
  return s.dev && s.point !== 'route' ? `${known} ${s.dev}` : known;
}

/**
 * What one side says at a point, of what the two differ in.
 * @param {Beat | null | undefined} b
 * @param {Field[]} differs
 * @param {Lang} lang
 */
export function said(b, differs, lang) {
  if (!b) return translate(lang, 'differ.nothing');
  const parts = differs.map((f) => {
    switch (f) {
      case 'src': return `${translate(lang, 'field.src')} ${endpoint(b.after, 'src')}`;
      case 'dst': return `${translate(lang, 'field.dst')} ${endpoint(b.after, 'dst')}`;
      case 'ttl': return `TTL ${b.after.ttl ?? '–'}`;
      case 'route': return routeWord(b.step, lang);
      case 'rule': return ruleWord(b, lang) + (b.step.verdict && b.step.rule ? ` · ${b.step.verdict}` : '');
      default: return pointName(b, lang);
    }
  });
  return parts.join(', ');
}

/**
 * How far two journeys agree: at how many of the points that both speak of.
 * @param {Column[]} columns
 */
export function agreement(columns) {
  const spoken = columns.filter((c) => (c.kernel && c.model) || c.differs.length);
  return { same: spoken.filter((c) => !c.differs.length).length, total: spoken.length };
}
