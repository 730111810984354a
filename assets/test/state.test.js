import test from 'node:test';
import assert from 'node:assert/strict';
import { canRun, currentBeats, currentTrace, initial, keep, playlist, primary, reduce, standing, stepTraces } from '../js/model/state.js';
import { createStore } from '../js/model/store.js';
import { snapshots, steps } from './fixtures.js';

const step = (id, more = {}) => ({ id, title: { en: id }, prose: {}, after: {}, commands: [{ node: 'host', text: 'true' }], focus: { tab: 'journey', command: 1 }, ...more });
const lesson = {
  id: 'l', world: 'w', title: { en: 'L' }, intro: {},
  steps: [step('first-ping', { focus: { tab: 'neighbours', command: 0, node: 'host' } }), step('masquerade'), step('localnet', { focus: { tab: 'commands', command: 0, node: 'ns1' } })],
};
const lab = (more = {}) => ({ id: '7f3a', state: 'ready', lesson: 'l', steps: [], next: 'first-ping', tabs: 1, ...more });
const say = (s, message) => reduce(s, { type: 'message', message });
const begin = (more) => say(say(reduce(initial('en'), { type: 'lesson', lesson, step: '' }), { type: 'hello', hello: { v: 1, version: 'x', backend: 'kernel' } }), { type: 'lab', lab: lab(more) });
const ran = (s, id) => say(s, { type: 'step', id: 1, step: steps()[id] });

test('a step that was run: the stage and the drawer turn to it, and the button leads on', () => {
  let s = begin();
  assert.equal(primary(s), 'run');
  s = reduce(s, { type: 'sent', busy: 'run' });
  assert.equal(primary(s), 'wait');
  s = ran(s, 'first-ping');
  assert.equal(primary(s), 'next', 'at once, before the lab message and “done”');
  assert.equal(s.tab, 'neighbours');
  assert.equal(s.node, 'host');
  assert.equal(currentTrace(s)?.summary, 'ICMP echo request');
  assert.equal(s.beat, 0);
  assert.deepEqual(lesson.steps.map((x) => standing(s, x)), ['done', 'next', 'ahead']);
});

test('the journeys of the step’s own command are played, the others can be chosen', () => {
  let s = ran(reduce(ran(begin(), 'first-ping'), { type: 'view', index: 1 }), 'masquerade');
  assert.deepEqual(playlist(s).map((t) => t.summary), ['ICMP echo request', 'ICMP echo reply']);
  assert.ok(stepTraces(s).length >= 2);
  s = reduce(s, { type: 'trace', id: playlist(s)[1].id });
  s = reduce(s, { type: 'beat', beat: 999 });
  assert.equal(s.beat, currentBeats(s).length - 1, 'the beat stays within the journey');
});

test('a lab message without steps keeps what is known; one with steps replaces it', () => {
  let s = ran(begin(), 'first-ping');
  s = say(s, { type: 'lab', lab: { ...lab({ state: 'running', next: 'masquerade' }), steps: undefined } });
  assert.ok(s.runs['first-ping']);
  s = say(s, { type: 'lab', lab: lab() });
  assert.deepEqual(s.runs, {});
  assert.equal(s.trace, '', 'what was undone leaves the stage');
  assert.equal(primary(s), 'run');
});

test('a page that joins late stands at the next step, or at the one in its address', () => {
  const done = { steps: [steps()['first-ping']], next: 'masquerade', guesses: { 'first-ping': 'x' }, own: [{ index: 0, node: 'host', text: 'ip addr', status: 0 }] };
  assert.equal(begin(done).view, 1);
  assert.equal(begin(done).guesses['first-ping'], 'x');
  assert.equal(begin(done).console[0].text, 'ip addr');
  const there = say(reduce(initial('en'), { type: 'lesson', lesson, step: 'first-ping' }), { type: 'lab', lab: lab(done) });
  assert.equal(there.view, 0);
  assert.equal(begin({ ...done, steps: ['first-ping', 'masquerade', 'localnet'].map((k) => steps()[k]), next: undefined }).view, 2);
});

test('a step far ahead is reached, not run', () => {
  assert.equal(primary(reduce(begin(), { type: 'view', index: 2 })), 'reach');
});

test('a step that broke is run again; a step that failed may be left', () => {
  const broken = begin({ steps: [{ ...steps()['first-ping'], state: 'broken' }] });
  assert.equal(primary(broken), 'run');
  assert.equal(standing(broken, lesson.steps[0]), 'failed');
  const failed = reduce(begin({ steps: [{ ...steps()['first-ping'], state: 'failed' }], next: 'masquerade' }), { type: 'view', index: 0 });
  assert.equal(primary(failed), 'next');
});

test('the last step ends the lesson', () => {
  const s = begin({ steps: ['first-ping', 'masquerade', 'localnet'].map((k) => steps()[k]), next: undefined });
  assert.equal(primary(s), 'finish');
});

test('a lost lab frees the page, and waits to be rebuilt', () => {
  let s = reduce(begin(), { type: 'sent', busy: 'run' });
  s = say(s, { type: 'begin', begin: { step: 'first-ping', index: 0, total: 4, node: 'host', text: 'x' } });
  s = say(s, { type: 'lab', lab: { ...lab({ state: 'lost', text: 'killed' }), steps: undefined } });
  assert.equal(s.running, null);
  assert.equal(s.busy, '');
  assert.equal(primary(s), 'rebuild');
});

test('without a kernel the lesson can be read to its end', () => {
  let s = say(begin(), { type: 'hello', hello: { v: 1, version: 'x', backend: 'none', reason: 'no user namespaces' } });
  assert.equal(canRun(s), false);
  assert.equal(primary(s), 'next');
  s = reduce(s, { type: 'view', index: 2 });
  assert.equal(primary(s), 'none');
});

test('the console’s answers find their commands; an error answers one too', () => {
  let s = reduce(begin(), { type: 'ask', id: 7, node: 'host', text: 'ip addr' });
  s = say(s, { type: 'begin', id: 7, begin: { index: 0, total: 1, node: 'host', text: 'ip addr' } });
  assert.equal(s.running, null, 'the lesson is not running');
  s = say(s, { type: 'command', id: 7, command: { index: 0, node: 'host', text: 'ip addr', status: 0, stdout: '1: lo' } });
  assert.equal(s.console[0].result?.stdout, '1: lo');
  s = reduce(s, { type: 'ask', id: 8, node: 'nsX', text: 'true' });
  s = say(s, { type: 'error', id: 8, error: { code: 'unknown-node', text: 'There is no node nsX.', do: 'Choose another.' } });
  assert.match(s.console[1].error?.text ?? '', /no node nsX/);
  assert.equal(s.error, null);
});

test(`of the sightings the newest ${keep} are kept, and the lost ones counted`, () => {
  const packets = (from, n) => Array.from({ length: n }, (_, i) => ({ seq: from + i, node: 'host', dev: 'eth0', out: true, at: i, header: { proto: 'icmp' }, summary: 'x' }));
  let s = begin();
  for (let i = 0; i < 6; i++) s = say(s, { type: 'packets', packets: packets(i * 100, 100), dropped: 2 });
  assert.equal(s.packets.length, keep);
  assert.equal(s.packets.at(-1)?.seq, 599);
  assert.equal(s.seen, 600);
  assert.equal(s.dropped, 12);
  for (const n of [3, 4]) s = say(s, { type: 'unfollowed', unfollowed: n });
  assert.equal(s.unfollowed, 7);
});

test('an address keeps its colour through the lesson; one the learner makes up gets a free one', () => {
  let s = say(begin(), { type: 'snapshot', snapshot: snapshots().namespace });
  const before = new Map(s.colours);
  const later = snapshots().masquerade;
  later.nodes.find((n) => n.name === 'ns1').links.find((l) => l.name === 'veth1').addrs.push({ prefix: '192.0.2.7/24', scope: 'global' });
  s = say(s, { type: 'snapshot', snapshot: later });
  for (const [a, c] of before) assert.equal(s.colours.get(a), c, a);
  assert.ok(s.colours.get('192.0.2.7'));
});

test('a lost connection forgets what was under way, not what is known', () => {
  let s = reduce(ran(begin(), 'first-ping'), { type: 'sent', busy: 'again' });
  s = reduce(s, { type: 'conn', conn: 'lost', retryAt: 5 });
  assert.deepEqual([s.busy, s.running, s.retryAt], ['', null, 5]);
  assert.ok(s.runs['first-ping']);
});

test('the store tells of changes only', () => {
  const store = createStore((n, by) => n + by, 1);
  const told = [];
  const stop = store.subscribe((n) => told.push(n));
  store.dispatch(0);
  store.dispatch(2);
  stop();
  store.dispatch(2);
  assert.deepEqual([told, store.get()], [[3], 5]);
});
