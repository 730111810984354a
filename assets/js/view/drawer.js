// The drawer below the stage: the same things as tables.

import { html, useEffect, useRef } from '../../vendor/htm-preact.js';
import { agreement } from '../model/compare.js';
import { because } from '../model/i18n.js';
import { currentColumns, currentEndsDiffer, currentForecast, currentTrace, currentTwin, shownMode, shownNode, tabs } from '../model/state.js';
import { usePage } from './context.js';
import { Journey } from './journey.js';
import { Conntrack, Interfaces, Iptables, Layers, Neighbours, Packets, World } from './tables.js';
import { Console } from './console.js';

/** @import { Tab } from '../model/state' */

const views = { journey: Journey, packets: Packets, layers: Layers, iptables: Iptables, conntrack: Conntrack, neighbours: Neighbours, interfaces: Interfaces, stage: World, console: Console };

export function Drawer() {
  const { s, c, t } = usePage();
  const bar = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useEffect(() => { // only the bar: in a narrow window scrollIntoView would turn the page
    const tab = bar.current?.querySelector('[aria-selected=true]');
    if (!bar.current || !(tab instanceof HTMLElement)) return;
    const [box, its] = [bar.current.getBoundingClientRect(), tab.getBoundingClientRect()];
    if (its.left < box.left) bar.current.scrollLeft -= box.left - its.left;
    else if (its.right > box.right) bar.current.scrollLeft += its.right - box.right;
  }, [s.tab]);
  const View = views[s.tab];
  return html`<section class=${`drawer ${s.drawer ? '' : 'closed'}`} aria-label=${t('drawer')}>
    <${Handle} />
    <div class="bar">
      <div class="tabs" role="tablist" aria-label=${t('drawer')} ref=${bar} onKeyDown=${(/** @type {KeyboardEvent} */ e) => turn(e, c.turn)}>
        ${tabs.map((id) => html`<button key=${id} type="button" role="tab" id=${`tab-${id}`} aria-controls="panel" aria-selected=${String(s.tab === id)}
          tabindex=${s.tab === id ? 0 : -1} onClick=${() => c.tab(id)}>${t(`tab.${id}`)}<${Count} tab=${id} /></button>`)}
      </div>
      <${Agreement} />
      <button type="button" class="btn small fold" aria-expanded=${String(s.drawer)} aria-label=${t(s.drawer ? 'drawer.close' : 'drawer.open')} title=${t(s.drawer ? 'drawer.close' : 'drawer.open')}
        onClick=${() => c.drawer({ open: !s.drawer })}>${s.drawer ? '▾' : '▴'}</button>
    </div>
    ${s.drawer && html`<div class="panel" id="panel" role="tabpanel" tabindex="0" aria-labelledby=${`tab-${s.tab}`}><${View} key=${s.tab} /></div>`}
  </section>`;
}

/** How far the model and the kernel agree on the journey on the stage, or what is missing for that. */
function Agreement() {
  const { s, t } = usePage();
  const mode = shownMode(s);
  if (s.hello?.backend === 'sim') return html`<p class="agree sim" title=${t('sim.what')}>${t('sim.line')}</p>`;
  if (mode === 'kernel') return null;
  const forecast = currentForecast(s);
  const missing = because(s.lang, forecast?.missing);
  if (missing) return html`<p class="agree" title=${missing}>${missing}</p>`;
  const trace = currentTrace(s);
  if (mode === 'sim') return trace ? html`<p class="agree sim">${t('sim.before')}</p>` : null;
  const twin = currentTwin(s);
  if (!trace || !twin) return null;
  const { same, total } = agreement(currentColumns(s));
  const end = !currentEndsDiffer(s);
  return same === total && end ? html`<p class="agree yes">${t('agree.yes', { n: total })} <span aria-hidden="true">✓</span></p>`
    : html`<p class="agree no"><b aria-hidden="true">≠</b> ${same === total ? t('agree.end') : t('agree.no', { n: total - same, total })}</p>`;
}

/** @param {KeyboardEvent} e @param {(by: number) => void} by */
function turn(e, by) {
  if (e.key !== 'ArrowLeft' && e.key !== 'ArrowRight') return;
  e.stopPropagation();
  e.preventDefault();
  by(e.key === 'ArrowRight' ? 1 : -1);
  const list = /** @type {HTMLElement} */ (e.currentTarget);
  requestAnimationFrame(() => /** @type {HTMLElement | null} */ (list.querySelector('[aria-selected=true]'))?.focus());
}

/** How many there are, with room for as many digits as there may well be: the tabs beside it stand still. @param {{ tab: Tab }} props */
function Count({ tab }) {
  const { s } = usePage();
  const node = s.snapshot?.nodes.find((n) => n.name === shownNode(s));
  const n = tab === 'packets' ? s.seen : tab === 'conntrack' ? (node?.conns?.length ?? 0)
    : tab === 'journey' ? currentColumns(s).length : null;
  return n === null ? null : html` <span class="count">${n || ''}</span>`;
}

/** The edge that is dragged, or moved with the arrow keys. */
function Handle() {
  const { s, c, t } = usePage();
  const start = useRef({ y: 0, height: 0 });
  const limit = (/** @type {number} */ h) => Math.round(Math.max(120, Math.min(innerHeight - 220, h)));
  const current = () => document.querySelector('.drawer')?.getBoundingClientRect().height ?? 300;
  return html`<div class="handle" role="separator" aria-orientation="horizontal" tabindex="0" aria-label=${t('drawer.size')}
    aria-valuenow=${s.drawerHeight || 300} aria-valuemin="120" aria-valuemax="900"
    onPointerDown=${(/** @type {PointerEvent} */ e) => {
      start.current = { y: e.clientY, height: current() };
      /** @type {Element} */ (e.currentTarget).setPointerCapture(e.pointerId);
    }}
    onPointerMove=${(/** @type {PointerEvent} */ e) => {
      if (/** @type {Element} */ (e.currentTarget).hasPointerCapture(e.pointerId)) c.drawer({ open: true, height: limit(start.current.height + start.current.y - e.clientY) });
    }}
    onKeyDown=${(/** @type {KeyboardEvent} */ e) => {
      const by = e.key === 'ArrowUp' ? 24 : e.key === 'ArrowDown' ? -24 : 0;
      if (!by) return;
      e.preventDefault();
      e.stopPropagation();
      c.drawer({ open: true, height: limit(current() + by) });
    }}></div>`;
}
