// A command line at any node.

import { html, useEffect, useRef, useState } from '../../vendor/htm-preact.js';
import { highlights } from '../model/journey.js';
import { errorText } from '../model/i18n.js';
import { canRun } from '../model/state.js';
import { usePage } from './context.js';
import { Output } from './lesson.js';
import { CommandLine, Kbd } from './text.js';

/** @param {{ error: import('../protocol').ServerError }} props */
function Refused({ error }) {
  const { s } = usePage();
  const { title, more } = errorText(s.lang, error);
  return html`<p class="hint refused"><b>${title}</b> ${more}</p>`;
}

export function Console() {
  const { s, c, t } = usePage();
  const [text, setText] = useState('');
  const [back, setBack] = useState(0); // how far up in the history
  const log = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useEffect(() => { if (log.current) log.current.scrollTop = log.current.scrollHeight; }, [s.console]);
  const node = c.consoleNode();
  const history = s.console.map((e) => e.text).filter((x, i, all) => x !== all[i - 1]);
  const waiting = s.console.some((e) => !e.result);

  /** @param {KeyboardEvent} e */
  const key = (e) => {
    const field = /** @type {HTMLInputElement} */ (e.currentTarget);
    if (e.ctrlKey && e.key.toLowerCase() === 'c' && field.selectionStart === field.selectionEnd) { // a selection is copied
      e.preventDefault();
      if (waiting) c.stop();
      setText('');
      setBack(0);
      return;
    }
    if (e.key !== 'ArrowUp' && e.key !== 'ArrowDown') return;
    e.preventDefault();
    const n = Math.max(0, Math.min(history.length, back + (e.key === 'ArrowUp' ? 1 : -1)));
    setBack(n);
    setText(n ? history[history.length - n] : '');
  };
  /** @param {Event} e */
  const submit = (e) => {
    e.preventDefault();
    if (!text.trim() || waiting) return;
    if (!c.command(text.trim())) return;
    setText('');
    setBack(0);
  };
  return html`<div class="console">
    <div class="log" ref=${log} tabindex="0" role="log" aria-label=${t('console.log')}>
      ${s.console.length === 0 && html`<p class="hint">${t('console.hint')}</p>`}
      ${s.console.map((e) => html`<div key=${e.id} class="entry"><span class="line">${!e.result && html`<i class="spin" role="img" aria-label=${t('running')}></i>`}<${CommandLine} node=${e.node} text=${e.text} /></span>
        ${e.error ? html`<${Refused} error=${e.error} />` : e.said ? html`<p class="hint">${t(e.said)}</p>` : e.result && html`<${Output} result=${e.result} open />`}
        ${highlights(e.result?.traces ?? []).map((x) => html`<button key=${x.id} type="button" class="follow" onClick=${() => c.foreign(x)}>▸ ${t('console.follow', { summary: x.summary })}</button>`)}
      </div>`)}
    </div>
    <form onSubmit=${submit}>
      <label><span class="sr">${t('node')}</span><select value=${node} onChange=${(/** @type {Event} */ e) => c.useConsole(/** @type {HTMLSelectElement} */ (e.currentTarget).value)}>
        ${(s.snapshot?.nodes ?? []).filter((n) => n.name).map((n) => html`<option key=${n.name} value=${n.name} selected=${n.name === node}>${n.name}</option>`)}
      </select></label><span class="pr" aria-hidden="true">#</span>
      <input id="console-input" type="text" autocomplete="off" autocapitalize="off" spellcheck=${false} aria-label=${t('console.input')} placeholder=${!canRun(s) ? t('lab.none') : waiting ? t('console.waits') : t('console.placeholder')}
        disabled=${!canRun(s)} value=${text} onInput=${(/** @type {Event} */ e) => setText(/** @type {HTMLInputElement} */ (e.currentTarget).value)} onKeyDown=${key} />
      ${waiting ? html`<button key="stop" type="button" class="btn small" onClick=${c.stop}>${t('act.stop')} <${Kbd} k="Ctrl C" /></button>`
        : html`<button key="run" type="submit" class="btn small" disabled=${!text.trim()}>${t('act.run')}</button>`}
    </form>
  </div>`;
}
