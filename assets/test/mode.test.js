import test from 'node:test';
import assert from 'node:assert/strict';
import { currentBeat, currentColumns, currentForecast, currentTrace, currentTwin, initial, modes, playlist, protocolVersion, reduce, shownMode, stepTraces } from '../js/model/state.js';
import { createController } from '../js/controller.js';
import { createStore } from '../js/model/store.js';
import { readFileSync } from 'node:fs';
import { steps, withForecast } from './fixtures.js';

const step = (/** @type {string} */ id) => ({ id, title: { en: id }, prose: {}, after: {}, commands: [{ node: 'host', text: 'true' }, { node: 'ns1', text: 'ping' }], focus: { tab: 'journey', command: 1 } });
const lesson = { id: 'l', world: 'w', title: { en: 'L' }, intro: {}, steps: [step('masquerade'), step('first-ping')] };
const say = (/** @type {any} */ s, /** @type {any} */ message) => reduce(s, { type: 'message', message });
const begin = (/** @type {any} */ hello = { backend: 'kernel', model: true }) => say(
  say(reduce(initial('en'), { type: 'lesson', lesson, step: '' }), { type: 'hello', hello: { v: 2, version: 'x', ...hello } }),
  { type: 'lab', lab: { id: '7f3a', state: 'ready', lesson: 'l', steps: [], next: 'masquerade', tabs: 1 } },
);
const turn = (/** @type {any} */ s, /** @type {any} */ mode) => reduce(s, { type: 'mode', mode });
const point = (/** @type {any} */ s) => {
  const c = currentColumns(s)[s.beat];
  const b = c.kernel ?? c.model;
  return `${b?.node} ${b?.step.point}`;
};

test('the page and the server speak the same version', () => {
  const go = readFileSync(new URL('../../web/message.go', import.meta.url), 'utf8');
  assert.equal(Number(/ProtocolVersion = (\d+)/.exec(go)?.[1]), protocolVersion);
});

test('what is shown is what there is', () => {
  assert.equal(shownMode(begin()), 'both');
  assert.equal(shownMode(turn(begin(), 'sim')), 'sim');
  assert.equal(shownMode(turn(begin({ backend: 'kernel' }), 'sim')), 'kernel', 'without a model there is the kernel only');
  assert.equal(shownMode(turn(begin({ backend: 'sim' }), 'kernel')), 'sim', 'a simulated lab is never shown as the kernel’s');
});

test('the forecast is on the stage before the kernel has answered, and gives way to it', () => {
  const run = withForecast('masquerade');
  let s = say(reduce(begin(), { type: 'sent', busy: 'run' }), { type: 'forecast', forecast: run.forecast });
  assert.equal(currentTrace(s)?.evidence, 'simulated');
  assert.ok(stepTraces(s).every((t) => t.evidence === 'simulated'));
  s = reduce(s, { type: 'beat', beat: 4 });
  const was = point(s);
  for (const c of run.commands) s = say(s, { type: 'command', command: { ...c, step: 'masquerade' } });
  assert.notEqual(currentTrace(s)?.evidence, 'simulated');
  assert.equal(point(s), was, 'the packet stays where it was');
  s = say(s, { type: 'step', step: run });
  assert.notEqual(currentTrace(s)?.evidence, 'simulated');
  assert.equal(point(s), was);
  assert.equal(s.forecast, null);
  assert.ok(currentForecast(s) && currentTwin(s));
  assert.ok(stepTraces(s).every((t) => t.evidence !== 'simulated'), 'a twin is not listed twice');
});

test('in Kernel nothing of the forecast is seen', () => {
  const run = withForecast('masquerade');
  let s = say(turn(begin(), 'kernel'), { type: 'forecast', forecast: run.forecast });
  assert.equal(currentTrace(s), null);
  s = say(s, { type: 'step', step: run });
  assert.ok(stepTraces(s).length && stepTraces(s).every((t) => t.evidence !== 'simulated'));
  assert.equal(currentTwin(s), null);
});

test('the switch keeps the packet where it is', () => {
  let s = say(begin(), { type: 'step', step: withForecast('masquerade') });
  s = reduce(s, { type: 'trace', id: playlist(s)[1].id });
  s = reduce(s, { type: 'beat', beat: 5 });
  const [was, summary] = [point(s), currentTrace(s)?.summary];
  for (const mode of [...modes, ...modes]) {
    s = turn(s, mode);
    assert.equal(point(s), was, mode);
    assert.equal(currentTrace(s)?.summary, summary, mode);
    assert.equal(currentTrace(s)?.evidence === 'simulated', mode === 'sim', mode);
  }
});

test('where the model goes on alone, the kernel’s packet stays at its end', () => {
  const run = withForecast('forwarding', (t) => {
    if (t.summary !== 'ICMP echo request') return;
    const h = t.hops.at(-1).steps.at(-1);
    t.hops.at(-1).steps.push({ ...h, point: 'tx', dev: 'eth0', rule: 0, verdict: undefined });
    t.disposition = 'delivered';
  });
  for (const c of run.forecast.commands) c.differs = ['journey'];
  const s0 = say(reduce({ ...begin(), lesson: { ...lesson, steps: [step('forwarding')] } }, { type: 'view', index: 0 }), { type: 'step', step: run });
  const list = currentColumns(s0);
  const s = reduce(s0, { type: 'beat', beat: list.length - 1 });
  assert.equal(list.at(-1)?.kernel, null);
  assert.deepEqual(list.at(-1)?.differs, ['point']);
  assert.equal(currentBeat(s), list.at(-2)?.kernel?.index);
});

test('a simulated lab: its own journeys, and no others', () => {
  const run = { ...steps().masquerade, commands: withForecast('masquerade').forecast.commands };
  const s = say(begin({ backend: 'sim' }), { type: 'step', step: run });
  assert.ok(stepTraces(s).length && stepTraces(s).every((t) => t.evidence === 'simulated'));
  assert.ok(currentColumns(s).every((c) => c.model && !c.kernel && !c.differs.length));
  assert.equal(currentTwin(s), null);
});

test('the key S goes through the three, where there are three', () => {
  for (const [hello, want] of /** @type {[any, string[]][]} */ ([[{ backend: 'kernel', model: true }, ['sim', 'kernel', 'both']], [{ backend: 'sim' }, ['sim', 'sim', 'sim']]])) {
    const store = createStore(reduce, begin(hello));
    const c = createController(store);
    assert.deepEqual([0, 1, 2].map(() => { c.nextMode(); return shownMode(store.get()); }), want);
  }
});
