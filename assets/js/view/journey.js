// The journey as a table: one column for each beat; and the player.

import { html, useEffect, useRef } from '../../vendor/htm-preact.js';
import { changed, duration, endpoint, first, head, outcome, reason, proof, signs, sinceStart, slowdown, span } from '../model/journey.js';
import { said, simulated } from '../model/compare.js';
import { short } from '../model/addresses.js';
import { because } from '../model/i18n.js';
import { beatsOf, currentBeats, currentColumns, currentEndsDiffer, currentForecast, currentRun, currentTrace, currentTwin, shownMode, stepTraces } from '../model/state.js';
import { usePage } from './context.js';
import { Address, Coloured, Kbd } from './text.js';

/** @import { Beat } from '../model/journey' */
/** @import { Column } from '../model/compare' */
/** @import { Header, Trace } from '../protocol' */

export function Journey() {
  const { s, t } = usePage();
  const columns = currentColumns(s);
  if (!currentTrace(s) || !columns.length) {
    const ran = ['done', 'failed'].includes(currentRun(s)?.state ?? '');
    const missing = shownMode(s) === 'sim' && s.hello?.backend !== 'sim' && ran && (currentForecast(s)?.missing || !currentForecast(s));
    return html`<div class="nothing"><p>${missing ? t('forecast.none', { why: because(s.lang, currentForecast(s)?.missing) }) : t(stepTraces(s).length ? 'journey.choose' : ran ? 'journey.none' : 'journey.ahead')}</p><${Chips} /></div>`;
  }
  return html`<div class="hops">
    <${Chips} />
    <${Table} columns=${columns} />
    <${Player} columns=${columns} />
  </div>`;
}

/** The journeys of this step. */
function Chips() {
  const { s, c, t } = usePage();
  const traces = s.foreign ? [s.foreign] : stepTraces(s);
  const row = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useEffect(() => {
    const chip = /** @type {HTMLElement | null} */ (row.current?.querySelector('[aria-pressed=true]'));
    if (chip && row.current) row.current.scrollLeft = chip.offsetLeft - (row.current.clientWidth - chip.offsetWidth) / 2;
  }, [s.trace]);
  if (!traces.length) return null;
  const chosen = currentTrace(s)?.id;
  const foreseen = shownMode(s) === 'both' && Boolean(currentRun(s)?.forecast);
  return html`<div class="chips" ref=${row} role="group" aria-label=${t('journeys')}>
    ${traces.map((x) => {
      const h = first(x);
      const how = outcome(x);
      const model = simulated(x);
      const only = model && foreseen; // the kernel sent no such packet
      return html`<button key=${x.id} type="button" class=${`chip ${how} ${model ? 'sim' : ''}`} aria-pressed=${String(x.id === chosen)} onClick=${() => c.choose(x.id)}
        title=${reason(x, s.lang)}><span aria-hidden="true">${how !== 'good' ? signs[how] : x.reply ? '←' : '→'}</span> ${x.summary}
        ${h?.src && html` <span class="ends">${short(h.src)} → ${short(h.dst)}</span>`}${how === 'bad' && html`<span class="sr"> (${t('lost')})</span>`}${only && html` <span class="only">${t('mode.sim')}</span>`}</button>`;
    })}
  </div>`;
}

/** @param {{ columns: Column[] }} props */
function Table({ columns }) {
  const { s, c, t } = usePage();
  const trace = currentTrace(s);
  const twin = currentTwin(s);
  const frame = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useEffect(() => {
    const cell = /** @type {HTMLElement | null} */ (frame.current?.querySelector('th.here'));
    const box = frame.current;
    if (!cell || !box) return;
    const left = cell.offsetLeft - 110;
    const right = cell.nextElementSibling?.matches('.fin') ? box.scrollWidth : cell.offsetLeft + cell.offsetWidth + 60;
    const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (left < box.scrollLeft) box.scrollTo({ left, behavior: smooth ? 'smooth' : 'auto' });
    else if (right > box.scrollLeft + box.clientWidth) box.scrollTo({ left: right - box.clientWidth, behavior: smooth ? 'smooth' : 'auto' });
  }, [s.beat, trace?.id]);
  if (!trace) return null;
  const beats = columns.map((k) => /** @type {Beat} */ (k.kernel ?? k.model));
  const hops = /** @type {{ node: string, n: number }[]} */ ([]);
  for (const b of beats) {
    if (b.node === hops.at(-1)?.node) hops[hops.length - 1].n++;
    else hops.push({ node: b.node, n: 1 });
  }
  const all = [...beatsOf(trace), ...beatsOf(twin)];
  const shape = {
    dst: all.some((b) => b.before.dst !== b.after.dst || b.before.dport !== b.after.dport),
    ports: all.some((b) => b.before.dport !== b.after.dport || b.before.sport !== b.after.sport),
  };
  const both = shownMode(s) === 'both' && !s.foreign;
  const waits = both && simulated(trace) && !currentRun(s); // the kernel is yet to answer
  return html`<div class="scroller" ref=${frame} tabindex="0" role="region" aria-label=${t('journey.table')}>
  <table class=${both ? 'both' : ''}>
    <caption class="sr">${trace.summary}: ${reason(trace, s.lang)}</caption>
    <thead>
      <tr class="nodes"><td></td>${hops.map((h, i) => html`<th key=${i} colspan=${h.n} scope="colgroup"><span>${h.node}</span></th>`)}</tr>
      <tr><td></td>${columns.map((k, i) => {
        const { name, sub } = head(beats[i], s.lang);
        return html`<th key=${i} scope="col" class=${cls(k, s.beat)}><button type="button" aria-current=${i === s.beat ? 'true' : undefined} onClick=${() => c.seek(i)}><b>${name}</b><span>${sub || '\u00a0'}</span></button></th>`;
      })}<th class="fin" scope="col"><b>${t('journey.end')}</b></th></tr>
    </thead>
    <tbody>
      ${(twin || simulated(trace)) && html`<${Row} side="model" columns=${columns} trace=${simulated(trace) ? trace : twin} other=${simulated(trace) ? null : trace} shape=${shape} />`}
      ${both && !twin && !simulated(trace) && html`<tr class="sim"><th scope="row">${t('mode.sim')}</th><td class="none" colspan=${columns.length + 1}>${t('forecast.none', { why: because(s.lang, currentForecast(s)?.missing) })}</td></tr>`}
      ${!simulated(trace) && html`<${Row} side="kernel" columns=${columns} trace=${trace} other=${twin} shape=${shape} />`}
      ${both && simulated(trace) && html`<tr><th scope="row">${t('mode.kernel')}</th><td class="none" colspan=${columns.length + 1}>${t(waits ? 'journey.waits' : 'journey.never')}</td></tr>`}
    </tbody>
  </table></div>`;
}

/**
 * What one side says, a cell for each point. Where the two differ, both cells
 * carry the sign ≠.
 * @param {{ side: 'kernel' | 'model', columns: Column[], trace: Trace, other: Trace | null, shape: { dst: boolean, ports: boolean } }} props
 */
function Row({ side, columns, trace, other, shape }) {
  const { s, t } = usePage();
  const sim = side === 'model';
  const ends = Boolean(other) && currentEndsDiffer(s);
  return html`<tr class=${sim ? 'sim' : ''}>
    <th scope="row">${t(sim ? 'mode.sim' : 'mode.kernel')}<span>${t(sim ? (s.hello?.backend === 'sim' ? 'journey.model' : 'journey.before') : 'journey.captured')}</span></th>
    ${columns.map((k) => {
      const b = k[side];
      const off = k.differs.length > 0 && Boolean(other);
      const c = `${cls(k, s.beat) ?? ''} ${off ? 'off' : ''}`;
      if (!b) return html`<td key=${k.index} class=${c}>${off ? html`<div class="ne"><b aria-hidden="true">≠</b> ${t('differ.nothing')}</div>` : html`<span class="dim" title=${t('differ.unsaid')}>·</span>`}</td>`;
      return html`<td key=${k.index} class=${c}>
        ${sim && other && !off && html`<div class="eq"><span aria-hidden="true">=</span><span class="sr">${t('ticket.same')}</span></div>`}
        <div><${Address} of=${b.after.src} show=${tail(b.after, 'src', shape.ports)} /></div>
        ${shape.dst && html`<div class="to"><span aria-hidden="true">→</span> <${Address} of=${b.after.dst} show=${tail(b.after, 'dst', shape.ports)} /></div>`}
        ${off ? html`<div class="ne"><b aria-hidden="true">≠</b> ${said(b, k.differs, s.lang)}</div>` : html`<div class="small">${b.after.ttl !== undefined && html`<span>ttl ${b.after.ttl}</span> `}${!sim && html`<span class=${`ev ${b.step.evidence}`}>${b.step.timed ? sinceStart(b.step.at) : t(`ev.${b.step.evidence}`)}</span>`}</div>`}
      </td>`;
    })}
    ${sim && other && !ends ? html`<td class="fin same"><p><span aria-hidden="true">=</span> ${t('differ.sameEnd')}</p></td>`
      : html`<td class=${`fin ${outcome(trace)} ${ends ? 'off' : ''}`}><p>${ends && html`<b class="ne" aria-hidden="true">≠ </b>`}${signs[outcome(trace)]} <${Coloured} text=${reason(trace, s.lang)} /></p><p class="proof">${proof(trace, s.lang)}</p></td>`}
  </tr>`;
}

/** @param {Column} k @param {number} now */
function cls(k, now) {
  const hot = [k.kernel, k.model].some((b) => b && (b.rewrite || changed(b.before, b.after)));
  return [hot ? 'hot' : '', k.index === now ? 'here' : '', k.index > now ? 'later' : ''].filter(Boolean).join(' ') || undefined;
}

/** @param {Header} h @param {'src' | 'dst'} side @param {boolean} ports */
function tail(h, side, ports) {
  const port = ports ? (endpoint(h, side).split(':')[1] ?? '') : '';
  return short(h[side]) + (port ? `:${port}` : '');
}

/** @param {{ columns: Column[] }} props */
function Player({ columns }) {
  const { s, c, t } = usePage();
  const k = columns[Math.min(s.beat, columns.length - 1)];
  const b = /** @type {Beat} */ (k.kernel ?? k.model);
  const list = currentBeats(s);
  const timed = !simulated(currentTrace(s)); // the model's clock is not the wire's
  const real = timed ? duration(list) : 0;
  const slow = timed ? slowdown(list) : 1;
  const { name, sub } = head(b, s.lang);
  return html`<div class="scrub">
    <button type="button" class="btn small" onClick=${c.play}>${t(s.playing ? 'pause' : 'play')} <${Kbd} k=${t('space')} /></button>
    <span class="slow">${slow > 1 ? t('slowed', { n: slow.toLocaleString('en').replaceAll(',', '\u202f') }) : ''}</span>
    <input type="range" min="0" max=${columns.length - 1} step="1" value=${s.beat} aria-label=${t('scrub')} aria-valuetext=${`${t('ticket.step', { n: k.index + 1, total: columns.length })}: ${b.node} ${name} ${sub}`}
      onInput=${(/** @type {InputEvent} */ e) => c.seek(Number(/** @type {HTMLInputElement} */ (e.currentTarget).value))} />
    <span class="time">${real > 0 ? t('time.of', { at: span(b.step.at), of: span(real) }) : ''}</span>
  </div>`;
}
