import test from 'node:test';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { because, checkText, dictionaries, errorText, firstLanguage, localized, translate } from '../js/model/i18n.js';

const keys = Object.keys(dictionaries.en);
const source = (dir) => readdirSync(new URL(dir, import.meta.url), { recursive: true }).filter((f) => f.endsWith('.js'))
  .map((f) => readFileSync(new URL(`${dir}/${f}`, import.meta.url), 'utf8')).join('\n');

for (const lang of ['zh-CN', 'zh-TW']) {
  test(`${lang} has every word, and the same blanks`, () => {
    assert.deepEqual(Object.keys(dictionaries[lang]).sort(), [...keys].sort());
    const blanks = (s) => (typeof s === 'string' ? [...s.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort() : []);
    for (const k of keys) {
      assert.equal(typeof dictionaries[lang][k], typeof dictionaries.en[k], k);
      assert.deepEqual([...new Set(blanks(dictionaries[lang][k]))], [...new Set(blanks(dictionaries.en[k]))], k);
    }
  });
}

test('Simplified and Traditional are not mixed', () => {
  const words = (lang) => Object.values(dictionaries[lang]).map(String).join('');
  assert.doesNotMatch(words('zh-CN'), /[個這裡網關開無輸執題說資訊環檢權圖]/);
  assert.doesNotMatch(words('zh-TW'), /[个这里网关开无输执题说资讯环检权图]/);
});

test('every word the page asks for exists', () => {
  const code = source('../js/view') + source('../js/model') + readFileSync(new URL('../js/controller.js', import.meta.url), 'utf8');
  const asked = [...code.matchAll(/\bt(?:ranslate)?\((?:lang, |s\.lang, )?'([\w.-]+)'/g)].map((m) => m[1]);
  assert.ok(asked.length > 120, `found only ${asked.length}`);
  for (const k of asked) assert.ok(k in dictionaries.en, k);
});

test('every way a journey can end has words', () => {
  const read = (file) => readFileSync(new URL(`../../sim/trace/${file}`, import.meta.url), 'utf8');
  const [ends0, others] = read('packet.go').split('// Codes of Step.Code');
  const codes = (text) => Object.fromEntries([...text.matchAll(/^\s+(Code\w+)\s+= "([\w-]+)"/gm)].map((m) => [m[1], m[2]]));
  const [ofEnds, ofSteps] = [codes(ends0), codes(others)];
  assert.ok(Object.keys(ofEnds).length >= 27 && Object.keys(ofSteps).length >= 2, 'found too few');
  for (const c of Object.values(ofEnds)) assert.ok(`code.${c}` in dictionaries.en, c);
  for (const c of Object.values(ofSteps)) assert.ok(`note.${c}` in dictionaries.en, c);
  const notes = [.../func StepNote[^]*?\n}/.exec(read('reason.go'))[0].matchAll(/Code\w+/g)].map((m) => ofEnds[m[0]] ?? ofSteps[m[0]]);
  assert.ok(notes.length >= 10, `found only ${notes.length}`);
  for (const c of notes) assert.ok(`note.${c}` in dictionaries.en, c);
  const trace = readFileSync(new URL('../../sim/trace/trace.go', import.meta.url), 'utf8');
  const ends = [...trace.matchAll(/Disposition = "([\w-]+)"/g)].map((m) => m[1]);
  assert.ok(ends.length >= 14, `found only ${ends.length}`);
  for (const d of ends) assert.ok(`disposition.${d}` in dictionaries.en, d);
});

test('the page has every phrase of a check, in English the same', () => {
  const go = readFileSync(new URL('../../lessons/phrase.go', import.meta.url), 'utf8');
  const phrases = [...go.matchAll(/^\t"([a-z-]+)":\s+"(.*)",$/gm)];
  assert.ok(phrases.length > 40, `found only ${phrases.length}`);
  for (const [, code, english] of phrases) assert.equal(dictionaries.en[`check.${code}`], english, code);
  const check = { ok: true, text: 'host: link veth0, up', says: [{ code: 'link', args: { node: 'host', name: 'veth0' } }, { code: 'up' }] };
  assert.equal(checkText('en', check), check.text);
  assert.equal(checkText('zh-CN', check), 'host：接口 veth0，已启用');
  assert.equal(checkText('zh-CN', { ...check, says: [{ code: 'unheard-of' }] }), check.text);
});

test('every error of the server has words, and says what to do', () => {
  const go = readFileSync(new URL('../../web/message.go', import.meta.url), 'utf8');
  const [, list] = /\/\/ Code: ([^]*?)\n\tCode /.exec(go) ?? [];
  const codes = (list ?? '').replace(/\([^)]*\)|\/\//g, ' ').split(/[\s,]+/).filter(Boolean);
  assert.ok(codes.length >= 17, `found only ${codes}`);
  const sent = ['lessons', 'web'].flatMap((dir) => readdirSync(new URL(`../../${dir}/`, import.meta.url)).filter((f) => f.endsWith('.go') && !f.endsWith('_test.go'))
    .flatMap((f) => [...readFileSync(new URL(`../../${dir}/${f}`, import.meta.url), 'utf8').matchAll(/Refusal\{(?:Code: )?"([\w-]+)"/g)].map((m) => m[1])));
  assert.ok(sent.length > 15, `found only ${sent}`);
  for (const c of sent) assert.ok(codes.includes(c), `web/message.go does not list ${c}`);
  for (const c of [...codes, 'offline']) for (const key of [`error.${c}`, `do.${c}`]) assert.ok(key in dictionaries.en, key);
});

test('a reason is in the page’s language as far as it has words', () => {
  assert.equal(because('en', 'The lab died: signal: killed'), 'The lab died: signal: killed.');
  assert.equal(because('zh-TW', 'The lab died: signal: killed.'), '實驗環境的行程已結束：signal: killed。');
  assert.equal(because('zh-CN', 'not simulated: docker logs'), '未模拟：docker logs');
  assert.equal(because('zh-CN', 'No room on the disk.'), '原因：No room on the disk.');
  assert.equal(because('zh-TW', undefined), '');
  const lost = { code: 'lost', text: 'The lab died: signal: killed', do: 'Rebuild the lab.' };
  assert.deepEqual(errorText('zh-CN', lost), { title: '实验环境已消失。', more: '实验环境的进程已退出：signal: killed。 重建实验环境：它会回到同一步。' });
  assert.deepEqual(errorText('en', { code: 'unheard-of', text: 'Odd.', do: 'Wait.' }), { title: 'Odd.', more: 'Wait.' });
  // what the server says begins as the page expects
  const go = ['session.go', 'session_lab.go', 'forecast.go'].map((f) => readFileSync(new URL(`../../lessons/${f}`, import.meta.url), 'utf8')).join('');
  for (const text of ['"The lab died: "', '"The lab was closed."', '"the model took too long"', '"not simulated: "']) assert.ok(go.includes(text), text);
});

test('blanks are filled, and a missing one leaves nothing behind', () => {
  assert.equal(translate('en', 'code.no-route', { node: 'ns1', dst: '203.0.113.10' }), 'ns1 has no route to 203.0.113.10.');
  assert.equal(translate('en', 'gate.rules', { n: 1 }), '1 rule');
  assert.doesNotMatch(translate('zh-CN', 'code.no-route'), /[{}]/);
});

test('a lesson without a language falls back on its sister, then on English', () => {
  assert.equal(localized('zh-TW', { en: 'a', 'zh-CN': 'b' }), 'b');
  assert.equal(localized('zh-TW', { en: 'a' }), 'a');
  assert.equal(localized('en', { 'zh-CN': 'b' }), 'b');
  assert.equal(localized('en', undefined), undefined);
});

test('the first language is what was chosen, or what the browser asks for', () => {
  assert.equal(firstLanguage('zh-TW', ['en']), 'zh-TW');
  assert.equal(firstLanguage('tlh', ['zh-HK', 'en']), 'zh-TW');
  assert.equal(firstLanguage(null, ['fr', 'zh']), 'zh-CN');
  assert.equal(firstLanguage(null, ['fr']), 'en');
});
