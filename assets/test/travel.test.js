import test from 'node:test';
import assert from 'node:assert/strict';
import { beats } from '../js/model/journey.js';
import { layout } from '../js/model/scene.js';
import { gateOf, leg, overlap, placeTicket, spot } from '../js/model/travel.js';
import { journey, journeys, snapshots } from './fixtures.js';

const scene = layout(snapshots().masquerade, { w: 1040, h: 560 });
const numbers = (d) => (d.match(/-?\d+(\.\d+)?(e-?\d+)?/g) ?? []).map(Number);
const ends = (d) => { const n = numbers(d); return [n.slice(0, 2), n.slice(-2)]; };
const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) < 30; // a chip's edge is so far from its middle

test('a journey is one unbroken line', () => {
  for (const { step, trace } of journeys()) {
    const list = beats(trace);
    let at = Object.values(spot(scene, list, 0));
    for (let i = 1; i < list.length; i++) {
      const d = leg(scene, list, i);
      assert.ok(numbers(d).every(Number.isFinite), `${step} ${trace.id} ${i}: ${d}`);
      const [from, to] = ends(d);
      assert.ok(near(from, at), `${step} ${trace.id}: leg ${i} begins at ${from}, but the packet is at ${at}`);
      at = Object.values(spot(scene, list, i));
      assert.ok(near(to, at), `${step} ${trace.id}: leg ${i} ends at ${to}, but the packet is to be at ${at}`);
    }
  }
});

test('a forwarded packet passes the gates in the lane’s order', () => {
  const list = beats(journey('masquerade', 1, 0));
  const gates = list.map((_, i) => gateOf(scene, list, i)).filter(Boolean);
  assert.deepEqual(gates, ['PREROUTING', 'handover', 'route', 'FORWARD', 'POSTROUTING']);
});

test('a local packet starts at the processes’ side, goes round by lo, and is taken in', () => {
  const list = beats(journey('from-the-host', 0, 0));
  const gates = list.map((_, i) => gateOf(scene, list, i));
  assert.deepEqual(gates, ['route-local', 'OUTPUT', 'POSTROUTING', 'lo', 'lo', 'PREROUTING', 'route', 'INPUT', 'socket']);
});

test('conntrack’s rewrite is shown at the gate where it happens', () => {
  const list = beats(journey('masquerade', 1, 1));
  const i = list.findIndex((b) => b.rewrite);
  assert.equal(gateOf(scene, list, i), 'PREROUTING');
});

const small = layout(snapshots().masquerade, { w: 908, h: 420 });

for (const [name, scene, w] of [['1040×560', layout(snapshots().masquerade, { w: 1040, h: 560 }), 280], ['a small screen', small, 270]]) test(`${name}: the ticket covers neither the packet nor a gate`, () => {
  for (const { trace } of journeys()) {
    const list = beats(trace);
    let before = null;
    for (let i = 0; i < list.length; i++) {
      const dot = spot(scene, list, i);
      const at = placeTicket(scene, dot, { w, h: 150 }, before);
      const box = { ...at, w, h: 150 };
      assert.ok(at.x >= 0 && at.y >= 0 && at.x + w <= scene.w && at.y + 150 <= scene.h);
      assert.equal(overlap(box, { x: dot.x - 9, y: dot.y - 9, w: 18, h: 18 }), 0, `${trace.id} ${i}: over the packet`);
      for (const g of scene.lane.gates) assert.equal(overlap(box, g), 0, `${trace.id} ${i}: over ${g.id}`);
      before = at;
    }
  }
});

test('the ticket stays where it was while it can', () => {
  const still = placeTicket(scene, { x: 500, y: 400 }, { w: 280, h: 120 }, null);
  assert.deepEqual(placeTicket(scene, { x: 501, y: 400 }, { w: 280, h: 120 }, still), still);
});
