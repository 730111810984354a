import test from 'node:test';
import assert from 'node:assert/strict';
import { agreement, align, disagreements, endsDiffer, said, twins, words } from '../js/model/compare.js';
import { beats } from '../js/model/journey.js';
import { foreseen, journey, journeys, steps, withForecast } from './fixtures.js';

/** @param {any} t @param {string} node @param {string} point */
const stepAt = (t, node, point) => t.hops.find((/** @type {any} */ h) => h.node === node).steps.find((/** @type {any} */ s) => s.point === point);

test('a journey agrees with itself, at every point', () => {
  for (const { step, trace } of journeys()) {
    const columns = align(beats(trace), beats(foreseen(trace)));
    assert.equal(columns.length, beats(trace).length, `${step} ${trace.id}`);
    assert.ok(columns.every((c) => c.kernel && c.model && !c.differs.length), `${step} ${trace.id}`);
  }
});

test('another rule, another address, another TTL: the point is marked, and the others are not', () => {
  const t = journey('masquerade', 1, 0);
  for (const [field, change] of /** @type {[string, (t: any) => void][]} */ ([
    ['rule', (x) => { stepAt(x, 'host', 'FORWARD').rule = 2; }],
    ['src', (x) => { stepAt(x, 'host', 'POSTROUTING').after.src = '10.24.254.12'; }],
    ['ttl', (x) => { stepAt(x, 'host', 'tx').after.ttl = 64; }],
    ['route', (x) => { stepAt(x, 'host', 'route').dev = 'br-demo'; }],
  ])) {
    const off = align(beats(t), beats(foreseen(t, change))).filter((c) => c.differs.length);
    assert.deepEqual(off.map((c) => c.differs), [[field]]);
    for (const lang of /** @type {const} */ (['en', 'zh-CN', 'zh-TW'])) assert.notEqual(said(off[0].kernel, off[0].differs, lang), said(off[0].model, off[0].differs, lang));
  }
});

test('a packet that the model sees die early: what the kernel did alone is marked', () => {
  const t = journey('masquerade', 1, 0);
  const model = foreseen(t, (x) => {
    x.hops = x.hops.slice(0, 2);
    x.hops[1].steps = x.hops[1].steps.slice(0, x.hops[1].steps.findIndex((/** @type {any} */ s) => s.point === 'FORWARD') + 1);
    Object.assign(x.hops[1].steps.at(-1), { rule: 0, verdict: 'policy DROP' });
    Object.assign(x, { disposition: 'dropped', node: 'host', code: 'policy-drop', args: { node: 'host', chain: 'FORWARD' } });
  });
  assert.ok(endsDiffer(t, model));
  const columns = align(beats(t), beats(model));
  const alone = columns.filter((c) => !c.model);
  assert.ok(alone.some((c) => c.kernel?.step.point === 'tx' && c.differs.includes('point')));
  assert.ok(alone.filter((c) => c.kernel?.step.verdict === 'pass').every((c) => !c.differs.length), 'a chain that passes is no difference');
  const { same, total } = agreement(columns);
  assert.ok(same > 3 && same < total);
});

test('a port picked at random is like any other', () => {
  const t = structuredClone(journey('masquerade', 1, 0));
  const set = (/** @type {number} */ p) => (/** @type {any} */ x) => { for (const h of x.hops) for (const s of h.steps) { s.before.sport = p; s.after.sport = p; } };
  set(40001)(t);
  assert.ok(align(beats(t), beats(foreseen(t, set(51234)))).every((c) => !c.differs.length));
  assert.ok(align(beats(t), beats(foreseen(t, set(8000)))).every((c) => c.differs.includes('src')));
});

test('the second of a name goes with the second', () => {
  const t = journey('masquerade', 1, 0);
  const kernel = [{ index: 1, node: 'ns1', text: 'ping', status: 0, traces: [{ ...t, id: 'b', start: 2 }, { ...t, id: 'a', start: 1 }, { ...t, id: 'c', summary: 'other' }] }];
  const model = [{ index: 1, node: 'ns1', text: 'ping', status: 0, traces: [{ ...foreseen(t), id: 'm1' }, { ...foreseen(t), id: 'm2' }] }, { index: 2, node: 'ns1', text: 'ping', status: 0, traces: [{ ...foreseen(t), id: 'm3' }] }];
  const map = twins(kernel, model);
  assert.deepEqual([map.get('a')?.id, map.get('b')?.id, map.get('c'), map.get('m1')?.id, map.get('m3')], ['m1', 'm2', undefined, 'a', undefined]);
  assert.equal(twins(null, undefined).size, 0);
});

test('a step that came as foreseen has no disagreement; one that did not is told in words', () => {
  for (const id of Object.keys(steps())) assert.deepEqual(disagreements(withForecast(id)), [], id);
  assert.deepEqual(disagreements(steps().masquerade), [], 'without a forecast there is nothing to say');

  const run = withForecast('masquerade', (t) => { if (t.summary === 'ICMP echo request') stepAt(t, 'host', 'FORWARD').rule = 2; });
  assert.deepEqual(disagreements(run), [], 'the server found nothing that counts');
  Object.assign(run.forecast.commands[0], { status: 4, differs: ['status', 'stderr'] });
  run.forecast.commands[1].differs = ['stdout', 'journey'];
  run.forecast.differences = [{ what: 'sysctl', model: 'host sysctl a=0', kernel: 'host sysctl a=1' }, { what: 'neigh', model: '', kernel: 'host neigh x' }, { what: 'neigh', model: 'host neigh y', kernel: '' }];
  const list = disagreements(run);
  assert.deepEqual(list.map((d) => d.kind), ['status', 'printed', 'point', 'state', 'state', 'state']);
  assert.match(words(list[2], 'en'), /ICMP echo request 172\.18\.0\.8 → 203\.0\.113\.10, in host at FORWARD\. The model expected: rule 2.*The kernel: rule 1/);
  for (const d of list) for (const lang of /** @type {const} */ (['en', 'zh-CN', 'zh-TW'])) assert.doesNotMatch(words(d, lang), /undefined|[{}]|differ\./);
});

test('packets that only one side sent are told, but not ARP, which timers decide', () => {
  const run = withForecast('masquerade');
  const gone = run.forecast.commands[1].traces.shift();
  run.forecast.commands[1].differs = ['journey'];
  assert.deepEqual(disagreements(run).map((d) => d.kind), ['kernel']);
  run.forecast.commands[1].traces.push(gone, { ...gone, id: 'model-more' });
  assert.deepEqual(disagreements(run).map((d) => d.kind), ['model']);
  const arp = withForecast('first-ping');
  for (const c of arp.forecast.commands) c.differs = ['journey'];
  for (const c of arp.forecast.commands) c.traces = c.traces.filter((/** @type {any} */ t) => !t.summary.startsWith('ARP'));
  assert.ok(disagreements(arp).every((d) => d.kind === 'journey'));
});

test('a listing the model does not know is no disagreement', () => {
  const run = withForecast('masquerade');
  Object.assign(run.forecast.commands[1], { status: 95, missing: 'not simulated: ping', traces: [] });
  assert.deepEqual(disagreements(run), []);
});
