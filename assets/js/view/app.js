// The frame: header, lesson, stage, drawer; the keyboard; the player's clock.

import { html, useEffect, useState } from '../../vendor/htm-preact.js';
import { intentOf } from '../model/keys.js';
import { because, errorText, localized } from '../model/i18n.js';
import { playTime } from '../model/journey.js';
import { currentBeats, currentColumns, currentRun, currentStep } from '../model/state.js';
import { PageContext, page, usePage } from './context.js';
import { Header } from './header.js';
import { LessonColumn } from './lesson.js';
import { Stage } from './stage.js';
import { Drawer } from './drawer.js';
import { Help } from './help.js';
import { Start } from './start.js';
import { Kbd } from './text.js';

/** @import { State } from '../model/state' */
/** @import { Controller } from '../controller' */

/** @param {{ store: { get: () => State, subscribe: (fn: (s: State) => void) => () => void }, c: Controller }} props */
export function App({ store, c }) {
  const [s, set] = useState(store.get());
  useEffect(() => {
    // many messages, one drawing: a busy lab says more than a screen can show
    let frame = 0;
    const draw = () => { frame = 0; set(store.get()); };
    draw();
    return store.subscribe(() => { frame ||= requestAnimationFrame(draw); });
  }, []);
  useKeyboard(store, c);
  usePlayer(s, c);
  const step = currentStep(s);
  useEffect(() => {
    document.documentElement.lang = s.lang;
    const title = localized(s.lang, s.lesson?.title);
    document.title = title ? `${title} · vethlab` : 'vethlab';
  }, [s.lang, s.lesson]);
  useEffect(() => {
    // the address follows the page, so that it can be kept and shared
    if (s.lesson && s.lab && step) history.replaceState(null, '', `/lesson/${encodeURIComponent(s.lesson.id)}#${encodeURIComponent(step.id)}`);
  }, [s.lesson, step?.id, Boolean(s.lab)]);
  const p = page(s, c);
  const style = s.drawerHeight ? { '--drawer': `${s.drawerHeight}px` } : undefined;
  return html`<${PageContext.Provider} value=${p}>
    <${Header} />
    <${Bar} />
    ${s.lesson ? html`<main class=${`work ${s.drawer ? '' : 'folded'}`} style=${style}><${LessonColumn} /><${Stage} /><${Drawer} /></main>` : html`<${Start} />`}
    <${Said} />
    <${Help} />
  </${PageContext.Provider}>`;
}

/** What went wrong, and what to do about it. */
function Bar() {
  const { s, c, t } = usePage();
  if (s.lab?.state === 'lost') {
    return html`<div class="alert bad" role="alert"><span><b>${t('lost.title')}</b> ${because(s.lang, s.lab.text)} ${t('lost.kept')}</span>
      <button type="button" class="btn small" disabled=${s.busy === 'rebuild'} onClick=${c.rebuild}>${t('act.rebuild')} <${Kbd} k="B" /></button></div>`;
  }
  if (s.conn === 'lost') return html`<div class="alert warn" role="status"><span>${t('conn.text')}</span></div>`;
  if (!s.error) return null;
  const { title, more } = errorText(s.lang, s.error);
  return html`<div class="alert warn" role="alert"><span><b>${title}</b> ${more}</span>
    ${s.error.code === 'lost' && html`<button type="button" class="btn small" onClick=${c.rebuild}>${t('act.rebuild')} <${Kbd} k="B" /></button>`}
    <button type="button" class="btn small" onClick=${c.dismiss}>${t('close')}</button></div>`;
}

/** For those who listen to the page. */
function Said() {
  const { s, t } = usePage();
  const run = currentRun(s);
  const checks = run?.checks ?? [];
  const words = s.running ? t('said.running', { n: s.running.index + 1, total: s.running.total })
    : run ? t('said.done', { ok: checks.filter((k) => k.ok).length, total: checks.length, answer: run.observed ?? '' }) : '';
  return html`<p class="sr" role="status" aria-live="polite">${words}</p>`;
}

/** @param {{ get: () => State }} store @param {Controller} c */
function useKeyboard(store, c) {
  useEffect(() => {
    const down = (/** @type {KeyboardEvent} */ e) => {
      const intent = intentOf(e, focusKind(e.target));
      if (intent === null) return;
      const s = store.get();
      if (!s.lesson && intent !== 'help' && intent !== 'lang' && intent !== 'escape') return;
      e.preventDefault();
      if (typeof intent === 'object') {
        const option = currentStep(s)?.predict?.options[intent.guess];
        if (option) c.guess(option.id);
        return;
      }
      switch (intent) {
        case 'forward': return c.forward();
        case 'back': return c.back();
        case 'primary': {
          const onward = document.querySelector('a.onward.p');
          return onward instanceof HTMLElement ? onward.click() : c.primary();
        }
        case 'play': return c.play();
        case 'first': return c.seek(0);
        case 'last': return c.seek(currentColumns(s).length - 1);
        case 'nextTrace': return c.step(1);
        case 'prevTrace': return c.step(-1);
        case 'readOn': return read(1);
        case 'readBack': return read(-1);
        case 'again': return c.again();
        case 'rebuild': return c.rebuild();
        case 'nextTab': return c.turn(1);
        case 'prevTab': return c.turn(-1);
        case 'drawer': return c.drawer({ open: !s.drawer });
        case 'lang': return c.nextLanguage();
        case 'mode': return c.nextMode();
        case 'help': return c.help(true);
        case 'console':
          c.tab('console');
          requestAnimationFrame(() => document.getElementById('console-input')?.focus());
          return;
        case 'escape':
          if (s.help) c.help(false);
          else if (s.error) c.dismiss();
          else if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      }
    };
    // a button pressed with the pointer gives the keys back to the lesson
    const release = (/** @type {MouseEvent} */ e) => {
      const button = e.detail > 0 && e.target instanceof Element && e.target.closest('button, summary');
      if (button instanceof HTMLElement && !button.closest('dialog')) button.blur();
    };
    document.addEventListener('keydown', down);
    document.addEventListener('click', release);
    return () => {
      document.removeEventListener('keydown', down);
      document.removeEventListener('click', release);
    };
  }, []);
}

/** Turns the lesson's page. @param {number} by */
function read(by) {
  const box = document.querySelector('.lesson .scroll');
  box?.scrollBy({ top: by * (box.clientHeight - 60), behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

/** @param {EventTarget | null} target @returns {'none' | 'button' | 'field' | 'scroll' | 'dialog'} */
function focusKind(target) {
  if (!(target instanceof Element)) return 'none';
  // one that has just closed may hold the focus until the next drawing
  const dialog = target.closest('dialog');
  if (dialog) return dialog.open ? 'dialog' : 'none';
  if (target.matches('input, select, textarea')) return 'field';
  if (target.matches('button, a, summary')) return 'button';
  if (target.matches('[tabindex="0"]') && target.scrollWidth + target.scrollHeight > target.clientWidth + target.clientHeight) return 'scroll';
  return 'none';
}

/** Plays the journey beat by beat, and goes on with the next. @param {State} s @param {Controller} c */
function usePlayer(s, c) {
  const list = currentColumns(s);
  useEffect(() => {
    if (!s.playing || !list.length) return;
    const atEnd = s.beat >= list.length - 1;
    const next = c.neighbour(1);
    const beats = currentBeats(s);
    const timer = setTimeout(() => {
      if (!atEnd) c.seek(s.beat + 1, true);
      else if (next) c.choose(next.id, true);
      else c.seek(s.beat, false);
    }, atEnd ? (next ? 1600 : 0) : playTime(beats, (list[s.beat + 1].kernel ?? list[s.beat + 1].model)?.index ?? 0));
    return () => clearTimeout(timer);
  }, [s.playing, s.beat, s.trace, list]);
}
