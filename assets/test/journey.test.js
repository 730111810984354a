import test from 'node:test';
import assert from 'node:assert/strict';
import { actedRules, beats, duration, head, highlights, outcome, playTime, reason, ruleWord, slowdown, span, tracesOf, why } from '../js/model/journey.js';
import { journey, journeys, steps } from './fixtures.js';

test('a ping out: one rewrite, in POSTROUTING, by rule 1 of nat; TTL is 63 in FORWARD', () => {
  const list = beats(journey('masquerade', 1, 0));
  const rewrites = list.filter((b) => b.rewrite);
  assert.equal(rewrites.length, 1);
  const [b] = rewrites;
  assert.deepEqual([b.node, b.step.point, b.before.src, b.after.src], ['host', 'POSTROUTING', '172.18.0.8', '10.24.254.11']);
  assert.equal(ruleWord(b, 'en'), 'nat rule 1');
  assert.equal(ruleWord(b, 'en', true), 'nat 1');
  assert.equal(why(b, 'en'), 'nat POSTROUTING rule 1 · MASQUERADE');
  assert.equal(list.find((x) => x.step.point === 'FORWARD')?.after.ttl, 63);
  assert.equal(list.at(-1)?.last, true);
  assert.ok(actedRules(list).has('host nat POSTROUTING 1'));
  assert.ok(actedRules(list).has('host filter FORWARD 1'));
});

test('its reply: rewritten back by conntrack, without a rule', () => {
  const list = beats(journey('masquerade', 1, 1));
  const [b] = list.filter((x) => x.rewrite);
  assert.deepEqual([b.before.dst, b.after.dst, Boolean(b.step.rule)], ['10.24.254.11', '172.18.0.8', false]);
  assert.match(why(b, 'en'), /conntrack/);
});

test('no step of a journey is lost among its beats', () => {
  for (const { step, trace } of journeys()) {
    const list = beats(trace);
    assert.equal(list.flatMap((b) => b.steps).length, trace.hops.flatMap((h) => h.steps).length, `${step} ${trace.id}`);
    assert.deepEqual(list.map((b) => b.index), list.map((_, i) => i));
    for (const b of list) for (const lang of ['en', 'zh-CN', 'zh-TW']) assert.ok(head(b, lang).name && why(b, lang), `${step} ${trace.id} ${b.index} ${lang}`);
  }
});

test('passing chains at one point are one beat; a chain that decides is its own', () => {
  const h = { proto: 'icmp', src: '1.1.1.1', dst: '2.2.2.2' };
  const s = (table, more = {}) => ({ point: 'PREROUTING', table, chain: 'PREROUTING', verdict: 'pass', at: 0, timed: false, before: h, after: h, evidence: 'reported', ...more });
  const trace = { hops: [{ node: 'host', steps: [s('raw'), s('mangle'), s('nat', { rule: 2, verdict: 'DNAT', after: { ...h, dst: '3.3.3.3' } }), s('x', { rule: 1, verdict: 'DROP' })] }] };
  const list = beats(/** @type {any} */ (trace));
  assert.equal(list.length, 2);
  assert.equal(list[0].step.table, 'nat');
  assert.equal(list[0].rewrite, true);
  assert.equal(list[1].step.verdict, 'DROP');
  assert.deepEqual(beats(null), []);
});

test('an end is good, lost, or neither', () => {
  assert.equal(outcome(journey('masquerade', 1, 0)), 'good');
  assert.equal(outcome(journey('forwarding', 1, 0)), 'bad');
  assert.equal(outcome(steps()['from-the-host'].commands[0].traces[0]), 'warn');
  assert.equal(outcome(tracesOf(steps()['forward-rules'].commands)[0]), 'warn');
});

test('the reason is said in the learner’s language', () => {
  const t = journey('forwarding', 1, 0);
  assert.match(reason(t, 'en'), /policy is DROP/);
  assert.match(reason(t, 'zh-CN'), /默认策略是 DROP/);
  assert.equal(reason({ ...t, code: 'unheard-of', reason: 'Because.' }, 'zh-CN'), 'Because.');
});

test('the learner is led through one request and one answer of each flow; ARP waits', () => {
  const all = steps()['first-ping'].commands[0].traces;
  assert.ok(all.some((t) => t.summary.startsWith('ARP')));
  for (const t of highlights(all)) assert.doesNotMatch(t.summary, /^ARP/);
  const http = highlights(steps().localnet.commands[2].traces);
  assert.deepEqual(http.map((t) => t.summary), ['TCP SYN', 'TCP SYN,ACK']);
  const arp = all.filter((t) => t.summary.startsWith('ARP'));
  assert.ok(highlights(arp).length > 0, 'where there is only ARP, ARP is shown');
});

test('slow motion is a round number, and no beat is too short to see or too long to wait for', () => {
  for (const { trace } of journeys()) {
    const list = beats(trace);
    assert.match(String(slowdown(list)), /^[125]0*$/);
    for (let i = 0; i < list.length; i++) assert.ok(playTime(list, i) >= 600 && playTime(list, i) <= 2200);
  }
  assert.equal(duration([]), 0);
});

test('times read well', () => {
  assert.deepEqual([0, 900, 4908, 41000, 138415, 1.2e6, 250e6, 2e9].map(span), ['0 µs', '0.9 µs', '4.9 µs', '41 µs', '138 µs', '1.2 ms', '250 ms', '2 s']);
});

test('a rewrite nobody saw is put down to its rule, and what is concluded is said in the learner’s language', () => {
  const h = { proto: 'tcp', src: '127.0.0.1', dst: '127.0.0.1', sport: 9, dport: 8088 };
  const after = { ...h, dst: '172.18.0.8', dport: 8000 };
  const base = { at: 0, timed: false, evidence: 'explained' };
  const trace = { hops: [{ node: 'host', steps: [
    { ...base, point: 'OUTPUT', table: 'nat', chain: 'OUTPUT', rule: 1, verdict: 'DNAT', before: h, after: h },
    { ...base, point: 'conntrack', chain: 'OUTPUT', cause: 'nat OUTPUT rule 1: DNAT', before: h, after },
    { ...base, point: 'route', verdict: 'no route', before: after, after, code: 'loopback-reroute', args: { src: '127.0.0.1', dev: 'br-demo' }, note: 'English' },
  ] }] };
  const [, rewrite, refused] = beats(/** @type {any} */ (trace));
  assert.equal(rewrite.rewrite, true);
  assert.equal(why(rewrite, 'en'), 'nat OUTPUT rule 1 · DNAT');
  assert.deepEqual(head(rewrite, 'en'), { name: 'OUTPUT', sub: 'nat rule 1' });
  assert.equal(why(refused, 'zh-CN'), '127.0.0.1 不能从 br-demo 离开：route_localnet 为 0');
  assert.equal(head(refused, 'en').sub, 'refused');
});

test('of a packet with a frame inside, a rewrite is of the packet around it; a tunnel says what it did', () => {
  const frame = { proto: 'icmp', src: '10.0.2.1', dst: '10.0.2.2', ttl: 64 };
  const outer = { proto: 'udp', src: '10.0.1.1', dst: '10.0.1.2', sport: 40000, dport: 4789, ttl: 64 };
  const inside = { ...frame, outer };
  const moved = { ...frame, outer: { ...outer, src: '10.0.1.9' } };
  const s = (point, before, after, more = {}) => ({ point, before, after, at: 0, timed: false, evidence: 'captured', ...more });
  const trace = { hops: [{ node: 'a', steps: [s('tx', frame, frame, { dev: 'vx0' }), s('tunnel', frame, inside, { dev: 'vx0' }),
    s('POSTROUTING', inside, moved, { table: 'nat', chain: 'POSTROUTING', rule: 1, verdict: 'SNAT' }), s('tunnel', moved, frame, { dev: 'vx0' })] }] };
  const list = beats(/** @type {any} */ (trace));
  assert.deepEqual(list.map((b) => b.rewrite), [false, false, true, false]);
  assert.equal(why(list[1], 'en'), 'vx0 puts it into a packet for 10.0.1.2');
  assert.equal(why(list[3], 'en'), 'vx0 takes it out of the packet from 10.0.1.9');
  for (const lang of ['zh-CN', 'zh-TW']) assert.match(why(list[1], /** @type {any} */ (lang)), /vx0 .*10\.0\.1\.2/);
});
