import test from 'node:test';
import assert from 'node:assert/strict';
import { bindings, intentOf } from '../js/model/keys.js';
import { dictionaries } from '../js/model/i18n.js';

const key = (k, more = {}) => ({ key: k, ctrlKey: false, metaKey: false, altKey: false, repeat: false, ...more });

test('every key in the help does something, and has words', () => {
  for (const b of bindings) {
    assert.ok(b.help in dictionaries.en, b.help);
    for (const k of b.keys.filter((x) => x !== '…')) assert.notEqual(intentOf(key(k), 'none'), null, k);
  }
});

test('capital letters count, combinations are the browser’s', () => {
  assert.equal(intentOf(key('R'), 'none'), 'again');
  assert.equal(intentOf(key('r', { ctrlKey: true }), 'none'), null);
  assert.equal(intentOf(key('ArrowLeft', { altKey: true }), 'none'), null);
});

test('a key belongs to what has the focus', () => {
  assert.equal(intentOf(key('r'), 'field'), null);
  assert.equal(intentOf(key('Enter'), 'button'), null);
  assert.equal(intentOf(key(' '), 'button'), null);
  assert.equal(intentOf(key('ArrowRight'), 'button'), 'forward');
  assert.equal(intentOf(key('ArrowRight'), 'scroll'), null);
  assert.equal(intentOf(key('r'), 'dialog'), null);
  assert.equal(intentOf(key('Escape'), 'field'), 'escape');
});

test('a key held down does not run steps one after the other', () => {
  assert.equal(intentOf(key('Enter', { repeat: true }), 'none'), null);
  assert.equal(intentOf(key('r', { repeat: true }), 'none'), null);
  assert.equal(intentOf(key('ArrowRight', { repeat: true }), 'none'), 'forward');
});

test('digits answer the prediction', () => assert.deepEqual(intentOf(key('3'), 'none'), { guess: 2 }));
