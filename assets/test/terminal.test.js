import test from 'node:test';
import assert from 'node:assert/strict';
import { plainly } from '../js/model/terminal.js';

test('what was written for a terminal is read as text', () => {
  assert.equal(plainly('\x1b[24;1H"x" [New]\x1b[2;1H~\x1b[?25h'), '"x" [New]~');
  assert.equal(plainly('\x1b]0;title\x07\x1b[1;32mok\x1b[0m\x1b(B'), 'ok');
  assert.equal(plainly('  0   0\r 50  10\r100  20\r\nns1 says hello\r\n'), '100  20\nns1 says hello\n');
  assert.equal(plainly('a\tb\n你好，世界'), 'a\tb\n你好，世界');
});
