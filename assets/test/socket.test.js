import test from 'node:test';
import assert from 'node:assert/strict';
import { connect, waits } from '../js/socket.js';

function fake() {
  const made = [];
  const states = [];
  const later = [];
  const heard = [];
  const link = connect({
    url: 'ws://x/ws', onMessage: (m) => heard.push(m), onState: (s, at) => states.push([s, at]), now: () => 1000,
    later: (fn, ms) => later.push({ fn, ms }),
    make: () => { const ws = { readyState: 0, sent: [], send(x) { this.sent.push(JSON.parse(x)); }, close() { this.onclose?.(); } }; made.push(ws); return ws; },
  });
  return { link, made, states, later, heard };
}

test('requests are numbered, and refused while there is no connection', () => {
  const { link, made } = fake();
  assert.equal(link.send({ type: 'run', step: 'a' }), 0);
  made[0].readyState = 1;
  assert.equal(link.send({ type: 'run', step: 'a' }), 1);
  assert.equal(link.send({ type: 'stop' }), 2);
  assert.deepEqual(made[0].sent, [{ id: 1, type: 'run', step: 'a' }, { id: 2, type: 'stop' }]);
});

test('a lost connection is tried again, each time a little later, and from the start once it held', () => {
  const f = fake();
  for (let i = 0; i < waits.length + 1; i++) {
    f.made.at(-1).onclose();
    assert.equal(f.later.at(-1).ms, waits[Math.min(i, waits.length - 1)]);
    assert.deepEqual(f.states.at(-1), ['lost', 1000 + f.later.at(-1).ms]);
    f.later.at(-1).fn();
  }
  f.made.at(-1).onopen();
  f.made.at(-1).onclose();
  assert.equal(f.later.at(-1).ms, waits[0]);
});

test('messages are read; a closed link stays closed', () => {
  const f = fake();
  f.made[0].onmessage({ data: '{"type":"done","done":true}' });
  assert.deepEqual(f.heard, [{ type: 'done', done: true }]);
  f.link.close();
  assert.equal(f.later.length, 0);
});
