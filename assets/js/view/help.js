import { html, useEffect, useRef } from '../../vendor/htm-preact.js';
import { bindings } from '../model/keys.js';
import { usePage } from './context.js';

/** @type {Record<string, string>} */
const caps = { ArrowRight: '→', ArrowLeft: '←', ArrowUp: '↑', ArrowDown: '↓', Escape: 'esc', Enter: '⏎', PageUp: 'PgUp', PageDown: 'PgDn' };

export function Help() {
  const { s, c, t } = usePage();
  const ref = /** @type {{ current: HTMLDialogElement | null }} */ (useRef(null));
  useEffect(() => {
    const d = ref.current;
    if (!d) return;
    if (s.help && !d.open) d.showModal();
    if (!s.help && d.open) d.close();
  }, [s.help]);
  return html`<dialog class="help" ref=${ref} aria-labelledby="help-title" onClose=${() => c.help(false)}
    onClick=${(/** @type {MouseEvent} */ e) => e.target === ref.current && c.help(false)}>
    <div class="inner">
      <div class="row"><h2 id="help-title">${t('help.title')}</h2><button type="button" class="btn small" onClick=${() => c.help(false)}>${t('close')}</button></div>
      <dl>${bindings.map((b) => html`<div key=${b.help}><dt>${b.keys.map((k) => html`<kbd>${k === ' ' ? t('space') : caps[k] ?? (k.length === 1 ? k.toUpperCase() : k)}</kbd>`)}</dt><dd>${t(b.help)}</dd></div>`)}</dl>
      <h3>${t('help.signs')}</h3>
      <ul class="legend">
        <li><svg width="44" height="12" aria-hidden="true"><line x1="2" y1="6" x2="42" y2="6" class="cable up" /></svg>${t('legend.up')}</li>
        <li><svg width="44" height="12" aria-hidden="true"><line x1="2" y1="6" x2="42" y2="6" class="cable down" /></svg>${t('legend.down')}</li>
        <li><span class="ev">${t('ev.captured')}</span>${t('legend.captured')}</li>
        <li><span class="ev">${t('ev.reported')}</span>${t('legend.reported')}</li>
        <li><span class="ev explained">${t('ev.explained')}</span>${t('legend.explained')}</li>
        <li><span class="ev simulated">${t('ev.simulated')}</span>${t('legend.simulated')}</li>
        <li><span class="ev"><b class="ne">≠</b></span>${t('legend.differs')}</li>
      </ul>
      <p class="hint">${t('help.version', { version: s.hello?.version ?? '–' })}</p>
    </div>
  </dialog>`;
}
