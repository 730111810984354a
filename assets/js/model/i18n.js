// The page's own words. Lessons bring theirs; see localized().

import en from '../i18n/en.js';
import zhCN from '../i18n/zh-CN.js';
import zhTW from '../i18n/zh-TW.js';

/** @import { Lang, Text, Docs, Doc } from '../protocol' */
/** @typedef {{ [name: string]: string | number | undefined }} Args */
/** @typedef {string | ((args: any) => string)} Entry */

/** @type {{ lang: Lang, label: string, name: string }[]} */
export const languages = [
  { lang: 'en', label: 'EN', name: 'English' },
  { lang: 'zh-CN', label: '简体', name: '简体中文' },
  { lang: 'zh-TW', label: '繁體', name: '繁體中文' },
];

/** @type {Record<Lang, Record<string, Entry>>} */
export const dictionaries = { en, 'zh-CN': zhCN, 'zh-TW': zhTW };

/**
 * The entry for key with its {blanks} filled. English stands in for a word
 * that a language lacks.
 * @param {Lang} lang
 * @param {string} key
 * @param {Args} [args]
 * @returns {string}
 */
export function translate(lang, key, args = {}) {
  const entry = dictionaries[lang][key] ?? dictionaries.en[key];
  if (entry === undefined) return key;
  if (typeof entry === 'function') return entry(args);
  return entry.replace(/\{(\w+)\}/g, (_, name) => String(args[name] ?? ''));
}

/** @param {Lang} lang @param {string} key */
export function knows(lang, key) {
  return (dictionaries[lang][key] ?? dictionaries.en[key]) !== undefined;
}

/**
 * What a check says.
 * @param {Lang} lang
 * @param {import('../protocol').Check} check
 */
export function checkText(lang, check) {
  const parts = check.says ?? [];
  if (!parts.length || parts.some((p) => !knows(lang, `check.${p.code}`))) return check.text;
  return parts.map((p) => translate(lang, `check.${p.code}`, p.args)).join('');
}

/**
 * What the server refused, as a title and what to do about it: in English in
 * its own words, which know more; elsewhere in ours, with its reason where only
 * it knows one.
 * @param {Lang} lang
 * @param {import('../protocol').ServerError} error
 * @returns {{ title: string, more: string }}
 */
export function errorText(lang, error) {
  const [what, todo] = [`error.${error.code}`, `do.${error.code}`];
  const own = knows(lang, what) ? translate(lang, what) : '';
  const reason = (lang === 'en' ? own !== error.text : ['lost', 'internal', 'no-kernel'].includes(error.code)) && own ? because(lang, error.text) : '';
  const advice = (lang === 'en' && error.do) || !knows(lang, todo) ? error.do : translate(lang, todo);
  return { title: own || error.text, more: [reason, advice].filter(Boolean).join(' ') };
}

/** How the server's reasons begin, of which the page has words. @type {[RegExp, string][]} */
const reasons = [
  [/^not simulated: the model took too long\.?$/, 'slow'], [/^not simulated: ([^]*)$/, 'unmodelled'],
  [/^The lab died: ([^]*?)\.?$/, 'died'], [/^The lab was closed\.?$/, 'closed'], [/^([^]*)$/, 'other'],
];

/**
 * A reason of the server's, as far as the page has words for it; the rest is a
 * program's or the kernel's own.
 * @param {Lang} lang
 * @param {string | undefined} text
 */
export function because(lang, text) {
  if (!text) return '';
  if (lang === 'en') return /[.!?]$/.test(text) ? text : `${text}.`;
  for (const [pattern, code] of reasons) {
    const m = pattern.exec(text);
    if (m) return translate(lang, `reason.${code}`, { what: m[1] });
  }
  return text;
}

/**
 * A lesson's own text in a language: Traditional falls back on Simplified
 * before English, and the other way round.
 * @template {string | Doc[]} T
 * @param {Lang} lang
 * @param {{ [lang: string]: T } | undefined} text
 * @returns {T | undefined}
 */
export function localized(lang, text) {
  if (!text) return undefined;
  const order = lang === 'en' ? ['en'] : lang === 'zh-CN' ? ['zh-CN', 'zh-TW', 'en'] : ['zh-TW', 'zh-CN', 'en'];
  for (const l of order) if (text[l]?.length) return text[l];
  return Object.values(text)[0];
}

/**
 * The language to begin with: what was chosen before, or what the browser asks for.
 * @param {string | null} stored
 * @param {readonly string[]} wanted
 * @returns {Lang}
 */
export function firstLanguage(stored, wanted) {
  for (const { lang } of languages) if (lang === stored) return lang;
  for (const w of wanted) {
    if (/^zh\b.*(TW|HK|MO|Hant)/i.test(w)) return 'zh-TW';
    if (/^zh\b/i.test(w)) return 'zh-CN';
    if (/^en\b/i.test(w)) return 'en';
  }
  return 'en';
}
