// Which colour an address has. The page's first rule: one address, one colour,
// in prose, commands, stage, tickets and tables.
//
// The colours are dealt once for a lesson, from its text and its starting
// world, so that an address that does not exist yet already has the colour it
// will keep. What an address is for decides its first choice: containers ask
// for teal, bridges for magenta, the host's own way out for orange, the outside
// world for blue. Whoever finds their choice taken gets the next free one.

/** @import { Lesson, Snapshot, Doc } from '../protocol' */

/** The names of the palette; css/base.css gives each an ink and a tint. */
export const palette = ['teal', 'orange', 'blue', 'magenta', 'olive', 'violet', 'gold', 'brown'];

/** Those that are dealt twice when there are not enough: not the host's own way out, the outside world or loopback. */
const again = palette.filter((c) => !['orange', 'blue', 'brown'].includes(c));

/** @typedef {{ kind: 'text' | 'address' | 'subnet', text: string, address?: string }} Token */

const octet = '(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)';
const pattern = new RegExp(`(?<![\\w.])(${octet}(?:\\.${octet}){3})(/\\d{1,2})?(:\\d{1,5})?(?![\\w.]*\\w)`, 'g');

/**
 * Splits a text at its IPv4 addresses. "172.18.0.0/16" is a subnet,
 * "172.18.0.8/16" an address with its prefix length, "10.0.0.1:80" an address
 * with a port.
 * @param {string} text
 * @returns {Token[]}
 */
export function tokens(text) {
  /** @type {Token[]} */
  const out = [];
  let last = 0;
  for (const m of text.matchAll(pattern)) {
    const [all, address, bits] = m;
    if (m.index > last) out.push({ kind: 'text', text: text.slice(last, m.index) });
    const subnet = isSubnet(address, bits ? Number(bits.slice(1)) : 32);
    out.push(subnet ? { kind: 'subnet', text: all } : { kind: 'address', text: all, address });
    last = m.index + all.length;
  }
  if (last < text.length) out.push({ kind: 'text', text: text.slice(last) });
  return out;
}

/** @param {string} address */
function toNumber(address) {
  return address.split('.').reduce((n, part) => n * 256 + Number(part), 0);
}

/**
 * Whether an address of this prefix length names a network, not a host.
 * @param {string} address
 * @param {number} bits
 */
export function isSubnet(address, bits) {
  if (address === '0.0.0.0' || address.startsWith('255.')) return true;
  return bits < 32 && toNumber(address) % 2 ** (32 - bits) === 0;
}

/** @param {Doc[] | undefined} docs @returns {string} */
export function plain(docs) {
  return (docs ?? []).map((d) => (d.s ?? '') + plain(d.c)).join(' ');
}

/** All the text of a lesson, in reading order. @param {Lesson} lesson */
function lessonText(lesson) {
  const parts = [];
  for (const step of lesson.steps) {
    parts.push(plain(step.prose?.en));
    for (const line of step.commands ?? []) parts.push(line.text);
    parts.push(step.predict?.question.en ?? '');
    for (const o of step.predict?.options ?? []) parts.push(o.label.en ?? '');
    parts.push(plain(step.after?.en));
  }
  return plain(lesson.intro?.en) + ' ' + parts.join(' ');
}

/**
 * @param {Lesson | null} lesson
 * @param {Snapshot | null} world
 * @returns {Map<string, string>} address → name of its colour
 */
export function deal(lesson, world) {
  /** @type {Map<string, string>} */
  const wishes = new Map(); // address → first choice, in order of appearance
  const machines = (world?.nodes ?? []).filter((n) => n.kind === 'machine').map((n) => n.name);
  const main = machines.includes('host') ? 'host' : machines[0];

  const given = new Map(); // address → first choice, known from who owns it
  for (const step of lesson?.steps ?? []) {
    for (const line of step.commands ?? []) {
      for (const [, address, rest] of line.text.matchAll(/(?:addr(?:ess)? add|ifconfig \S+) ([\d.]+)\S*([^;&|]*)/g)) {
        const device = /dev (\S+)/.exec(rest)?.[1] ?? /ifconfig (\S+)/.exec(line.text)?.[1] ?? '';
        const inside = line.node !== main || /netns exec|ip -n /.test(line.text);
        given.set(address, inside ? 'teal' : /^(br|docker)/.test(device) ? 'magenta' : 'orange');
      }
    }
  }
  const spare = [];
  for (const node of world?.nodes ?? []) {
    for (const link of node.links ?? []) {
      for (const { prefix } of link.addrs ?? []) {
        const address = prefix.split('/')[0];
        if (address.startsWith('127.')) continue;
        if (node.kind === 'container') given.set(address, 'teal');
        else if (node.name === main) given.set(address, link.type === 'bridge' ? 'magenta' : 'orange');
        else if (!given.has(address)) given.set(address, link.type === 'loopback' || prefix.endsWith('/32') ? 'blue' : '');
        spare.push(address);
      }
    }
  }
  const seen = tokens(lesson ? lessonText(lesson) : '').flatMap((t) => (t.address ? [t.address] : []));
  for (const address of [...given.keys(), ...seen, ...spare]) {
    if (!wishes.has(address)) wishes.set(address, address.startsWith('127.') ? 'brown' : (given.get(address) ?? ''));
  }

  /** @type {Map<string, string>} */
  const dealt = new Map();
  const taken = new Set();
  for (const [address, wish] of wishes) {
    if (!wish || (taken.has(wish) && wish !== 'brown')) continue;
    dealt.set(address, wish);
    taken.add(wish);
  }
  taken.add('brown'); // kept for loopback
  let next = 0;
  for (const address of wishes.keys()) {
    if (dealt.has(address)) continue;
    const free = palette.find((c) => !taken.has(c)) ?? again[next++ % again.length];
    dealt.set(address, free);
    taken.add(free);
  }
  return dealt;
}

/**
 * The end of an address that tells it from its neighbours: ".254.11". A
 * loopback address is written out: it has no neighbours, and would look like
 * a bridge's.
 * @param {string | undefined} address
 */
export function short(address) {
  return address?.startsWith('127.') ? address : address ? '.' + address.split('.').slice(2).join('.') : '';
}
