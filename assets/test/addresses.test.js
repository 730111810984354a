import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { deal, isSubnet, palette, short, tokens } from '../js/model/addresses.js';
import { snapshots } from './fixtures.js';

const text = (en) => ({ en: [{ t: 'p', c: [{ t: 'text', s: en }] }] });
const lesson = {
  id: 'l', world: 'w', title: { en: 'L' }, intro: text('Your machine is 10.24.254.11, the client 10.24.254.93, the world 203.0.113.10.'),
  steps: [
    { id: 'a', title: { en: 'A' }, prose: text('The bridge gets 172.18.0.1.'), after: {}, focus: { tab: 'commands', command: -1 },
      commands: [{ node: 'host', text: 'ip addr add 172.18.0.1/16 dev br-demo' }, { node: 'ns1', text: 'ip addr add 172.18.0.8/16 dev veth1' }] },
    { id: 'b', title: { en: 'B' }, prose: text('On 127.0.0.1 nobody listens.'), after: {}, focus: { tab: 'commands', command: -1 }, commands: null },
  ],
};

test('an address is found in prose and in commands, with its prefix length and port', () => {
  assert.deepEqual(tokens('curl http://10.24.254.11:8088/ now').filter((k) => k.address), [{ kind: 'address', text: '10.24.254.11:8088', address: '10.24.254.11' }]);
  assert.deepEqual(tokens('172.18.0.8/16').map((k) => [k.kind, k.address]), [['address', '172.18.0.8']]);
  assert.deepEqual(tokens('-s 172.18.0.0/16').map((k) => k.kind), ['text', 'subnet']);
  assert.equal(tokens('It is 10.0.0.1.').map((k) => k.text).join(''), 'It is 10.0.0.1.');
  for (const no of ['iptables v1.8.9', '1.2.3', '999.1.1.1', '1.2.3.4.5', 'a10.0.0.1']) assert.deepEqual(tokens(no).map((k) => k.kind), ['text'], no);
});

test('a subnet is told from an address by its host bits', () => {
  assert.equal(isSubnet('172.18.0.0', 16), true);
  assert.equal(isSubnet('172.18.0.8', 16), false);
  assert.equal(isSubnet('203.0.113.10', 32), false);
  assert.equal(isSubnet('0.0.0.0', 32), true);
});

test('what an address is for decides its colour', () => {
  const colours = deal(lesson, snapshots().namespace);
  assert.equal(colours.get('172.18.0.8'), 'teal');
  assert.equal(colours.get('10.24.254.11'), 'orange');
  assert.equal(colours.get('203.0.113.10'), 'blue');
  assert.equal(colours.get('172.18.0.1'), 'magenta');
  assert.equal(colours.get('127.0.0.1'), 'brown');
});

test('no two addresses share a colour while there are colours left', () => {
  const colours = [...deal(lesson, snapshots().namespace).values()];
  assert.equal(new Set(colours).size, colours.length);
  for (const c of colours) assert.ok(palette.includes(c), c);
});

test('a page that joins late deals the same colours', () => {
  const early = deal(lesson, snapshots().namespace);
  const late = deal(lesson, snapshots().delete);
  for (const [address, colour] of early) assert.equal(late.get(address), colour, address);
});

test('every ink can be read on its tint, on white, and on the dark ground (WCAG AA)', () => {
  const css = readFileSync(new URL('../css/base.css', import.meta.url), 'utf8');
  const light = (hex) => {
    const n = [1, 3, 5].map((i) => parseInt(hex.length === 4 ? hex[(i + 1) / 2] + hex[(i + 1) / 2] : hex.slice(i, i + 2), 16) / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * n[0] + 0.7152 * n[1] + 0.0722 * n[2];
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  for (const name of [...palette, 'none']) {
    const m = new RegExp(`\\.c-${name}\\{--c:(#\\w+);--b:(#\\w+);--n:(#\\w+)\\}`).exec(css);
    assert.ok(m, `css/base.css has no colour ${name}`);
    const [, ink, tint, night] = m;
    assert.ok(contrast(ink, tint) >= 4.5, `${name} on its tint: ${contrast(ink, tint).toFixed(2)}`);
    assert.ok(contrast(ink, '#ffffff') >= 4.5, `${name} on white: ${contrast(ink, '#ffffff').toFixed(2)}`);
    assert.ok(contrast(night, '#18212c') >= 4.5, `${name} on the dark ground: ${contrast(night, '#18212c').toFixed(2)}`);
  }
});

test('the short form is the end of the address', () => assert.equal(short('10.24.254.11'), '.254.11'));
