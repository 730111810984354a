import test from 'node:test';
import assert from 'node:assert/strict';
import { backstage, cardHead, gone, layout, reversed, textWidth } from '../js/model/scene.js';
import { overlap } from '../js/model/travel.js';
import { snapshots } from './fixtures.js';

const sizes = [{ w: 1040, h: 560 }, { w: 908, h: 426 }, { w: 1480, h: 712 }, { w: 720, h: 360 }];
const link = (name, more = {}) => ({ index: 9, name, type: 'veth', mtu: 1500, up: false, carrier: false, state: 'DOWN', mac: `02:00:00:00:00:${name.length}${name.at(-1)}`, ...more });
const node = (name, more = {}) => ({ name, kind: 'container', mounted: true, links: [link('lo', { type: 'loopback', mac: '' })], routes: [], ...more });

for (const size of sizes) {
  test(`${size.w}×${size.h}: nothing lies on anything else, and all is inside`, () => {
    for (const [name, snapshot] of Object.entries(snapshots())) {
      const s = layout(snapshot, size);
      const cards = s.rooms.filter((r) => r.side !== 'main');
      const host = s.rooms.find((r) => r.side === 'main');
      for (const r of s.rooms) assert.ok(r.x >= 0 && r.y >= 0 && r.x + r.w <= s.w && r.y + r.h <= s.h, `${name}: ${r.key} is outside`);
      for (const [i, a] of cards.entries()) {
        assert.equal(overlap(a, host), 0, `${name}: ${a.key} lies on the host`);
        for (const b of cards.slice(i + 1)) assert.equal(overlap(a, b), 0, `${name}: ${a.key} lies on ${b.key}`);
      }
      for (const [i, a] of s.lane.gates.entries()) for (const b of s.lane.gates.slice(i + 1)) assert.equal(overlap(a, b), 0, `${name}: ${a.id} lies on ${b.id}`);
      for (const b of s.bars) assert.ok(b.h > 60 && b.y > s.lane.y + s.lane.h && b.y + b.h < host.y + host.h, `${name}: the bridge does not fit`);
    }
  });
}

test('the lane is one way, left to right', () => {
  const g = Object.fromEntries(layout(snapshots().masquerade, sizes[0]).lane.gates.map((x) => [x.id, x]));
  const order = ['PREROUTING', 'handover', 'route', 'FORWARD', 'POSTROUTING'].map((id) => g[id].x);
  assert.deepEqual(order, [...order].sort((a, b) => a - b));
  assert.ok(g.INPUT.x < g.socket.x && g.socket.x < g.OUTPUT.x);
});

test('what is there does not move when something comes', () => {
  let slots = new Map();
  const seen = new Map();
  for (const name of ['namespace', 'veth', 'bridge', 'masquerade', 'delete']) {
    const s = layout(snapshots()[name], sizes[0], slots);
    slots = s.slots;
    for (const r of s.rooms) {
      const at = `${r.x} ${r.y}`;
      assert.equal(seen.get(r.key) ?? at, at, `${r.key} moved at ${name}`);
      seen.set(r.key, at);
    }
  }
  const full = snapshots().masquerade;
  const before = layout(full, sizes[0], slots);
  full.nodes.unshift(node('aaa'));
  const after = layout(full, sizes[0], before.slots);
  const y = (s) => s.rooms.find((r) => r.key === 'ns1').y;
  assert.equal(y(after), y(before), 'ns1 keeps its slot when another container comes before it');
});

test('a veth pair: both ends in the host, then one moves to the container, then a bridge takes the other', () => {
  const s0 = snapshots().namespace;
  s0.nodes.find((n) => n.name === 'host').links.push(
    link('veth0', { peerNode: 'host', peerName: 'veth1', mac: 'aa:00:00:00:00:01' }), link('veth1', { peerNode: 'host', peerName: 'veth0', mac: 'aa:00:00:00:00:02' }));
  const both = layout(s0, sizes[0]);
  const host = both.rooms.find((r) => r.key === 'host');
  const ends = both.ports.filter((p) => p.dev.startsWith('veth'));
  assert.equal(ends.length, 2);
  for (const p of ends) assert.ok(p.x > host.x && p.x < host.x + host.w, `${p.dev} is inside the host`);
  assert.equal(both.cables.filter((c) => c.key.includes('aa:00')).length, 1, 'one cable between them');

  const moved = layout(snapshots().veth, sizes[0]);
  const room = moved.rooms.find((r) => r.key === 'ns1');
  assert.equal(moved.ports.find((p) => p.node === 'ns1').x, room.x + room.w, 'the moved end is at the container’s edge');
  assert.equal(moved.ports.find((p) => p.node === 'host' && p.dev === 'veth0').shape, 'chip');
  const cable = moved.cables.find((c) => c.a === 'ns1|veth1');
  assert.equal(cable.state, 'down');

  const bridged = layout(snapshots().masquerade, sizes[0]);
  assert.equal(bridged.ports.find((p) => p.dev === 'veth0').x, bridged.bars[0].x, 'a port of the bridge is at the bar');
  assert.equal(bridged.cables.find((c) => c.a === 'ns1|veth1').state, 'up');
});

test('an end keeps its key when it moves, so that it can be seen moving', () => {
  const veth = layout(snapshots().veth, sizes[0]);
  const bridged = layout(snapshots().bridge, sizes[0]);
  const key = (s, dev) => s.ports.find((p) => p.dev === dev).key;
  const mac = (snapshot, n, dev) => snapshots()[snapshot].nodes.find((x) => x.name === n).links.find((l) => l.name === dev).mac;
  assert.equal(key(veth, 'veth1'), mac('veth', 'ns1', 'veth1'));
  assert.equal(mac('bridge', 'ns1', 'veth1'), key(bridged, 'veth1'));
});

test('an empty world, no world, a namespace without a name, a loose end', () => {
  assert.equal(layout(null, sizes[0]).rooms.length, 0);
  const empty = layout({ version: 1, nodes: [node('host', { kind: 'machine' })] }, sizes[0]);
  assert.deepEqual(empty.rooms.map((r) => r.key), ['host']);
  const s = layout({ version: 1, nodes: [node('host', { kind: 'machine' }), node('', { netns: 4026532001, mounted: false, links: [link('veth9')] })] }, sizes[0]);
  const room = s.rooms.find((r) => r.side === 'left');
  assert.equal(room.unnamed, true);
  assert.equal(s.cables[0].state, 'loose');
  assert.equal(layout(snapshots().delete, sizes[0]).rooms.find((r) => r.key === 'ns1').unnamed, true, 'ns1 lives on without its name');
});

test('many containers each get a place of their own', () => {
  const snapshot = { version: 1, nodes: [node('host', { kind: 'machine' }), ...[1, 2, 3, 4].map((i) => node(`c${i}`))] };
  const s = layout(snapshot, sizes[0]);
  const cards = s.rooms.filter((r) => r.side === 'left');
  for (const [i, a] of cards.entries()) for (const b of cards.slice(i + 1)) assert.equal(overlap(a, b), 0, `${a.key} lies on ${b.key}`);
});

test('two machines and an overlay network: each container beside its machine, what balances services not on the stage', () => {
  const veth = (name, peerNode, peerName) => link(name, { up: true, carrier: true, peerNode, peerName, mac: '' });
  const on = (machine, tail) => [
    node(`ingress_sbox${tail}`, { machine, links: [veth('eth0', `1-in${tail}`, 'veth0'), veth('eth1', machine, 'vetha')] }),
    node(`1-in${tail}`, { machine, links: [link('br0', { type: 'bridge' }), link('vxlan0', { type: 'vxlan' }), veth('veth0', `ingress_sbox${tail}`, 'eth0')] }),
    node(`lb_ov${tail}`, { machine, links: [veth('eth0', `1-ov${tail}`, 'veth0')] }),
    node(`1-ov${tail}`, { machine, links: [link('br0', { type: 'bridge' }), link('vxlan0', { type: 'vxlan' }), veth('veth0', `lb_ov${tail}`, 'eth0'), veth('veth1', `web${tail}`, 'eth0')] }),
    node(`web${tail}`, { machine, mounted: false, keeper: 7, links: [{ ...veth('eth0', `1-ov${tail}`, 'veth1'), addrs: [{ prefix: '10.5.0.2/24' }] }, { ...veth('eth1', machine, 'vethb'), addrs: [{ prefix: '172.18.0.3/16' }] }] }),
  ];
  const host = (name, tail) => node(name, { kind: 'machine', links: [link('eth0', { type: 'macvlan' }), link('docker_gwbridge', { type: 'bridge', up: true }),
    { ...veth('vetha', `ingress_sbox${tail}`, 'eth1'), master: 'docker_gwbridge' }, { ...veth('vethb', `web${tail}`, 'eth1'), master: 'docker_gwbridge' }] });
  const snapshot = { version: 1, nodes: [host('host1', ''), host('host2', "'"), ...on('host1', ''), ...on('host2', "'")] };
  assert.deepEqual([...backstage(snapshot)].sort(), ['1-in', "1-in'", 'ingress_sbox', "ingress_sbox'", 'lb_ov', "lb_ov'"]);
  const s = layout(snapshot, { w: 1480, h: 712 });
  const side = Object.fromEntries(s.rooms.map((r) => [r.key, r.side]));
  assert.deepEqual(side, { host1: 'main', '1-ov': 'left', web: 'left', host2: 'right', "1-ov'": 'right', "web'": 'right' });
  const cards = s.rooms.filter((r) => r.side !== 'main');
  for (const [i, a] of cards.entries()) for (const b of cards.slice(i + 1)) assert.equal(overlap(a, b), 0, `${a.key} lies on ${b.key}`);
  for (const p of s.ports) {
    const r = cards.find((c) => c.key === p.node);
    assert.ok(!r || (p.y > r.y && p.y < r.y + r.h), `${p.node} ${p.dev} is beside its card`);
  }
  assert.ok(s.cables.every((c) => c.state !== 'loose'), 'no end hangs in the air');
  const small = layout(snapshot, { w: 720, h: 360 }).rooms;
  assert.equal(small.length, 6, 'where there is little room they stand elsewhere, and are there');
});

test('what left is known by its key', () => {
  const keys = gone(layout(snapshots().masquerade, sizes[0]).rooms, layout(snapshots()['what-stays'], sizes[0]).rooms).map((r) => r.key);
  assert.deepEqual(keys, ['ns1']);
});

test('a path turned round twice is itself', () => {
  const ends = (d) => { const n = d.match(/-?[\d.]+/g).map(Number); return [n.slice(0, 2), n.slice(-2)]; };
  for (const c of layout(snapshots().masquerade, sizes[0]).cables) {
    assert.deepEqual(ends(reversed(c.d)), ends(c.d).reverse());
    assert.equal(reversed(reversed(c.d)), c.d);
  }
  assert.equal(reversed('M0 0L10 0C12 0 14 2 14 6'), 'M14 6C14 2 12 0 10 0L0 0');
});

test('a card’s head stays inside the card; bridges’ addresses stay apart', () => {
  assert.deepEqual(cardHead('web', 'process 10002', 166), { name: 'web', role: 'process 10002' });
  assert.deepEqual(cardHead('lucid_feinler', 'process 10002', 166), { name: 'lucid_feinler', role: '' });
  const long = cardHead('compassionate_ramanujan_2', 'container', 166);
  assert.ok(long.name.endsWith('…') && long.name.length > 12 && textWidth(long.name, 13) <= 138, long.name);
  for (const [n, size] of [1, 2, 3, 4, 6].flatMap((n) => sizes.map((size) => /** @type {const} */ ([n, size])))) {
    const world = snapshots().namespace;
    const host = world.nodes.find((x) => x.name === 'host');
    for (let i = 0; i < n; i++) host.links.push(link(`br${i}`, { type: 'bridge', up: true, addrs: [{ prefix: `172.${17 + i}.0.1/16` }] }));
    const s = layout(world, size);
    const room = s.rooms.find((r) => r.side === 'main');
    for (const [i, b] of s.bars.entries()) {
      assert.ok(b.x > room.x && b.x + b.w < room.x + room.w, `${n} bridges, ${size.w}: ${b.name} is outside`);
      if (i && !s.bars[i - 1].crowded) assert.ok(s.bars[i - 1].x + 42 + s.bars[i - 1].addrs[0].length * 6.3 < b.x, `${n} bridges, ${size.w}: the address of ${s.bars[i - 1].name} runs into ${b.name}`);
    }
  }
});
