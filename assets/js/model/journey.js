// A trace as the learner walks it: a list of beats.
//
//	Trace   ns1            host                                      internet
//	        OUTPUT … tx    rx  PREROUTING  route  FORWARD  POSTROUTING  tx    rx … socket
//	beats   1       2      3   4           5      6        7            8     9     10
//
// Neighbouring steps at one point where nothing decided anything (raw, mangle
// and nat PREROUTING all passing) are one beat; every step that decided,
// rewrote or ended something is a beat of its own.

import { translate, knows } from './i18n.js';

/** @import { Trace, Step, Header, Command, Lang } from '../protocol' */

/**
 * @typedef {object} Beat
 * @property {number} index
 * @property {string} node
 * @property {number} hop
 * @property {Step} step     the one that decided, or the last of its group
 * @property {Step[]} steps
 * @property {Header} before
 * @property {Header} after
 * @property {boolean} rewrite
 * @property {boolean} last
 */

const hooks = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

/** @param {Step} s */
export const isHook = (s) => hooks.has(s.point);

/**
 * The header a point is about: of a packet with another inside, its own.
 * @param {Header} h
 * @returns {Header}
 */
export const around = (h) => h.outer ?? h;

/** @param {Header} x @param {Header} y */
export function changed(x, y) {
  const [a, b] = x.outer && y.outer ? [x.outer, y.outer] : [x, y];
  return a.src !== b.src || a.dst !== b.dst || a.sport !== b.sport || a.dport !== b.dport;
}

/** @param {Step} s */
function decides(s) {
  return Boolean(s.rule) || changed(s.before, s.after) || (isHook(s) && !['', 'pass', 'ACCEPT', 'policy ACCEPT', undefined].includes(s.verdict));
}

/**
 * @param {Trace | null | undefined} trace
 * @returns {Beat[]}
 */
export function beats(trace) {
  /** @type {Beat[]} */
  const out = [];
  for (const [hop, { node, steps }] of (trace?.hops ?? []).entries()) {
    for (const step of steps) {
      const prev = out.at(-1);
      const joins = prev && prev.hop === hop && prev.step.point === step.point && isHook(step)
        && !(decides(prev.step) && decides(step));
      if (joins) {
        prev.steps.push(step);
        if (!decides(prev.step)) prev.step = step;
        prev.after = step.after;
        prev.rewrite ||= changed(step.before, step.after);
      } else {
        out.push({
          index: out.length, node, hop, step, steps: [step], before: step.before, after: step.after,
          rewrite: changed(step.before, step.after), last: false,
        });
      }
    }
  }
  const end = out.at(-1);
  if (end) end.last = true;
  return out;
}

/**
 * How a journey ended, in one word: it arrived, it arrived and yet nothing
 * will come of it, or it was lost.
 * @param {Trace} trace
 * @returns {'good' | 'warn' | 'bad'}
 */
export function outcome(trace) {
  if (trace.disposition === 'no-way-back' || trace.disposition === 'unclaimed' || trace.code === 'refused') return 'warn';
  return trace.disposition === 'delivered' ? 'good' : 'bad';
}

/** The outcomes' signs, so that colour is not the only one. */
export const signs = { good: '✓', warn: '!', bad: '✕' };

/** Nanoseconds from the first sighting to the last. @param {Beat[]} list */
export function duration(list) {
  return list.reduce((max, b) => Math.max(max, b.step.at), 0);
}

/** "+41 µs", "+1.2 ms". @param {number} ns */
export function sinceStart(ns) {
  return '+' + span(ns);
}

/** @param {number} ns */
export function span(ns) {
  const us = ns / 1000;
  if (us < 10) return `${trim(us, 1)} µs`;
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 1e6) return `${trim(us / 1000, us < 1e5 ? 1 : 0)} ms`;
  return `${trim(us / 1e6, 2)} s`;
}

/** @param {number} n @param {number} digits */
function trim(n, digits) {
  return String(Number(n.toFixed(digits)));
}

/**
 * How much slower than the wire a journey is played: so that a beat lasts
 * about a second, in a round number.
 * @param {Beat[]} list
 */
export function slowdown(list) {
  const real = duration(list);
  if (real <= 0) return 1;
  const raw = (list.length * 0.9e9) / real;
  if (raw < 1) return 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const lead = raw / power;
  return (lead >= 5 ? 5 : lead >= 2 ? 2 : 1) * power;
}

/**
 * How long the way to beat i takes when played, in milliseconds. Gaps keep
 * their proportion, between what the eye can follow and what it will wait for.
 * @param {Beat[]} list
 * @param {number} i
 */
export function playTime(list, i) {
  if (i <= 0 || i >= list.length) return 600;
  const gap = Math.max(0, list[i].step.at - list[i - 1].step.at);
  return Math.min(2200, Math.max(650, (gap * slowdown(list)) / 1e6));
}

/**
 * The beats' column heads in the drawer's table.
 * @param {Beat} b
 * @param {Lang} lang
 * @returns {{ name: string, sub: string }}
 */
export function head(b, lang) {
  const s = b.step;
  switch (s.point) {
    case 'rx': return { name: s.dev ?? '', sub: translate(lang, 'dir.in') };
    case 'tx': return { name: s.dev ?? '', sub: translate(lang, 'dir.out') };
    case 'bridge': return { name: s.dev || translate(lang, 'point.bridge'), sub: translate(lang, 'point.bridge') };
    case 'route': return { name: translate(lang, 'point.route'), sub: routeWord(s, lang) };
    case 'socket': return { name: translate(lang, 'point.socket'), sub: '' };
    case 'tunnel': return { name: s.dev || translate(lang, 'point.tunnel'), sub: translate(lang, 'point.tunnel') };
    case 'conntrack': return byRule(s) ? { name: s.chain ?? '', sub: ruleWord(b, lang) } : { name: 'conntrack', sub: s.chain ?? '' };
    default: return { name: s.point, sub: ruleWord(b, lang) };
  }
}

/** @param {Step} s @param {Lang} lang */
export function routeWord(s, lang) {
  if (s.verdict === 'local') return translate(lang, 'route.local');
  if (s.verdict === 'no route') return translate(lang, knows(lang, `route.${s.code}`) ? `route.${s.code}` : 'route.none');
  return s.dev ? `→ ${s.dev}` : '';
}

/**
 * What a chain did, in the fewest words: "nat 1 · MASQUERADE", "policy DROP".
 * @param {Beat} b
 * @param {Lang} lang
 * @param {boolean} [terse]  where there is little room
 */
export function ruleWord(b, lang, terse = false) {
  const s = b.step;
  const own = s.chain && s.chain !== s.point ? `${s.chain} ` : '';
  if (s.rule && terse && s.table !== 'filter') return `${s.table} ${own}${s.rule}`;
  if (s.rule) return `${s.table === 'filter' ? '' : (s.table ?? '') + ' '}${own}${translate(lang, 'rule.n', { n: s.rule })}`;
  const by = byRule(s);
  if (by) return terse ? `${by.table} ${by.rule}` : `${by.table} ${translate(lang, 'rule.n', { n: by.rule })}`;
  if (b.rewrite) return 'conntrack';
  if (s.verdict === 'policy DROP') return translate(lang, 'policy.DROP');
  if (s.verdict === 'policy ACCEPT') return translate(lang, 'policy.ACCEPT');
  return translate(lang, 'point.pass');
}

/**
 * The rule that a rewrite is put down to which nobody saw: "nat OUTPUT rule 1: DNAT".
 * @param {Step} s
 */
export function byRule(s) {
  const [, table, chain, rule, verdict] = /^(\w+) (\S+) rule (\d+): (\S+)$/.exec(s.cause ?? '') ?? [];
  return s.point === 'conntrack' && rule ? { table, chain, rule: Number(rule), verdict } : null;
}

/**
 * What is written about a step beside what was seen of it.
 * @param {Step} s
 * @param {Lang} lang
 */
function noteOf(s, lang) {
  return s.code && knows(lang, `note.${s.code}`) ? translate(lang, `note.${s.code}`, s.args) : (s.note ?? '');
}

/**
 * Why the packet is as it is after this beat: the ticket's last line.
 * @param {Beat} b
 * @param {Lang} lang
 */
export function why(b, lang) {
  const s = b.step;
  const note = noteOf(s, lang);
  switch (s.point) {
    case 'rx': return translate(lang, 'why.rx', { dev: s.dev, node: b.node });
    case 'tx': return translate(lang, 'why.tx', { dev: s.dev, node: b.node });
    case 'bridge': return note || translate(lang, 'why.bridge', { dev: s.dev });
    case 'tunnel': return note || (s.after.outer ? translate(lang, 'why.tunnel.in', { dev: s.dev ?? '', dst: s.after.outer.dst }) : translate(lang, 'why.tunnel.out', { dev: s.dev ?? '', src: s.before.outer?.src ?? '' }));
    case 'socket': return note || translate(lang, 'why.socket', { node: b.node });
    case 'route':
      if (s.verdict === 'no route') return s.code || lang === 'en' ? note || translate(lang, 'why.noroute') : translate(lang, 'why.noroute');
      return [s.verdict === 'local' ? translate(lang, 'why.local', { node: b.node }) : '', note].filter(Boolean).join(': ') || routeWord(s, lang);
  }
  if (s.rule) {
    return `${s.table} ${s.chain || s.point} ${translate(lang, 'rule.n', { n: s.rule })}${s.verdict ? ` · ${s.verdict}` : ''}`;
  }
  const by = byRule(s);
  if (by) return `${by.table} ${by.chain} ${translate(lang, 'rule.n', { n: by.rule })} · ${by.verdict}`;
  if (b.rewrite) return translate(lang, 'why.conntrack', { cause: (s.cause ?? '').replace(/^conntrack: (an existing connection)?/, '') });
  if (s.verdict === 'policy DROP' || s.verdict === 'policy ACCEPT') {
    return `${s.table} ${s.chain || s.point} · ${translate(lang, s.verdict === 'policy DROP' ? 'policy.DROP' : 'policy.ACCEPT')}`;
  }
  return s.cause || note || translate(lang, 'why.pass', { chain: s.point });
}

/**
 * What a journey's end says, in the learner's language.
 * @param {Trace} trace
 * @param {Lang} lang
 */
export function reason(trace, lang) {
  const key = `code.${trace.code}`;
  if (trace.code && knows(lang, key)) return translate(lang, key, trace.args ?? {});
  return trace.reason || translate(lang, `disposition.${trace.disposition}`);
}

/**
 * What tells it: captured, reported, or only explained — with the counters
 * that rose.
 * @param {Trace} trace
 * @param {Lang} lang
 */
export function proof(trace, lang) {
  const counters = Object.entries(trace.counters ?? {})
    .map(([name, n]) => translate(lang, 'proof.counter', { name, n }));
  // what was refused, or cannot be answered, was seen to arrive
  const arrived = trace.evidence === 'explained' && (trace.code === 'refused' || trace.code === 'no-way-back');
  return [translate(lang, arrived ? 'proof.arrived' : `proof.${trace.evidence}`), ...counters].join(lang === 'en' ? ' ' : '');
}

/** @param {Header} h @param {'src' | 'dst'} side */
export function endpoint(h, side) {
  const address = h[side];
  const port = side === 'src' ? h.sport : h.dport;
  return address ? address + (port ? `:${port}` : '') : '';
}

/**
 * The journeys a learner is led through after a step: of each flow the first
 * packet and its first answer. The others wait among the chips.
 * @param {Trace[]} traces
 */
export function highlights(traces) {
  const sorted = [...traces].sort((a, b) => a.start - b.start);
  const talk = sorted.filter((t) => first(t)?.proto !== 'arp');
  const seen = new Set();
  return (talk.length ? talk : sorted).filter((t) => {
    const key = `${t.flow} ${t.reply}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** @param {Trace} t @returns {Header | undefined} */
export function first(t) {
  return t.hops?.[0]?.steps?.[0]?.before;
}

/** All journeys of a step's commands. @param {Command[] | null | undefined} commands */
export function tracesOf(commands) {
  return (commands ?? []).flatMap((c) => c.traces ?? []);
}

/**
 * A rule that acted in this journey, as "node table chain number".
 * @param {Beat[]} list
 */
export function actedRules(list) {
  return new Set(list.flatMap((b) => b.steps.filter((s) => s.rule || s.verdict?.startsWith('policy'))
    .map((s) => `${b.node} ${s.table} ${s.chain || s.point} ${s.rule || 'policy'}`)));
}
