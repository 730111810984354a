// The journey as a table: one column for each beat; and the player.

import { html, useEffect, useRef } from '../../vendor/htm-preact.js';
import { changed, duration, endpoint, first, head, outcome, reason, proof, signs, sinceStart, slowdown, span } from '../model/journey.js';
import { short } from '../model/addresses.js';
import { currentBeats, currentRun, currentTrace, stepTraces } from '../model/state.js';
import { usePage } from './context.js';
import { Address, Coloured, Kbd } from './text.js';

/** @import { Beat } from '../model/journey' */
/** @import { Header } from '../protocol' */

export function Journey() {
  const { s, t } = usePage();
  const trace = currentTrace(s);
  const list = currentBeats(s);
  if (!trace || !list.length) {
    return html`<div class="nothing"><p>${t(stepTraces(s).length ? 'journey.choose' : ['done', 'failed'].includes(currentRun(s)?.state ?? '') ? 'journey.none' : 'journey.ahead')}</p><${Chips} /></div>`;
  }
  return html`<div class="hops">
    <${Chips} />
    <${Table} list=${list} />
    <${Player} list=${list} />
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
  return html`<div class="chips" ref=${row} role="group" aria-label=${t('journeys')}>
    ${traces.map((x) => {
      const h = first(x);
      const how = outcome(x);
      return html`<button key=${x.id} type="button" class=${`chip ${how}`} aria-pressed=${String(x.id === s.trace)} onClick=${() => c.choose(x.id)}
        title=${reason(x, s.lang)}><span aria-hidden="true">${how !== 'good' ? signs[how] : x.reply ? '←' : '→'}</span> ${x.summary}
        ${h?.src && html` <span class="ends">${short(h.src)} → ${short(h.dst)}</span>`}${how === 'bad' && html`<span class="sr"> (${t('lost')})</span>`}</button>`;
    })}
  </div>`;
}

/** @param {{ list: Beat[] }} props */
function Table({ list }) {
  const { s, c, t } = usePage();
  const trace = currentTrace(s);
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
  const hops = /** @type {{ node: string, n: number }[]} */ ([]);
  for (const b of list) {
    if (b.hop === hops.length - 1) hops[b.hop].n++;
    else hops.push({ node: b.node, n: 1 });
  }
  const dstMoves = list.some((b) => b.before.dst !== b.after.dst || b.before.dport !== b.after.dport);
  const ports = list.some((b) => b.before.dport !== b.after.dport || b.before.sport !== b.after.sport);
  return html`<div class="scroller" ref=${frame} tabindex="0" role="region" aria-label=${t('journey.table')}>
  <table>
    <caption class="sr">${trace.summary}: ${reason(trace, s.lang)}</caption>
    <thead>
      <tr class="nodes"><td></td>${hops.map((h, i) => html`<th key=${i} colspan=${h.n} scope="colgroup"><span>${h.node}</span></th>`)}</tr>
      <tr><td></td>${list.map((b) => {
        const { name, sub } = head(b, s.lang);
        return html`<th key=${b.index} scope="col" class=${cls(b, s.beat)}><button type="button" aria-current=${b.index === s.beat ? 'true' : undefined} onClick=${() => c.seek(b.index)}><b>${name}</b><span>${sub || '\u00a0'}</span></button></th>`;
      })}<th class="fin" scope="col"><b>${t('journey.end')}</b></th></tr>
    </thead>
    <tbody><tr>
      <th scope="row">${t('journey.kernel')}<span>${t('journey.captured')}</span></th>
      ${list.map((b) => html`<td key=${b.index} class=${cls(b, s.beat)}>
        <div><${Address} of=${b.after.src} show=${tail(b.after, 'src', ports)} /></div>
        ${dstMoves && html`<div class="to"><span aria-hidden="true">→</span> <${Address} of=${b.after.dst} show=${tail(b.after, 'dst', ports)} /></div>`}
        ${b.after.ttl !== undefined && html`<div>ttl ${b.after.ttl}</div>`}
        <div class=${`ev ${b.step.evidence}`}>${b.step.timed ? sinceStart(b.step.at) : t(`ev.${b.step.evidence}`)}</div>
      </td>`)}
      <td class=${`fin ${outcome(trace)}`}><p>${signs[outcome(trace)]} <${Coloured} text=${reason(trace, s.lang)} /></p><p class="proof">${proof(trace, s.lang)}</p></td>
    </tr></tbody>
  </table></div>`;
}

/** @param {Beat} b @param {number} now */
function cls(b, now) {
  return [b.rewrite || changed(b.before, b.after) ? 'hot' : '', b.index === now ? 'here' : '', b.index > now ? 'later' : ''].filter(Boolean).join(' ') || undefined;
}

/** @param {Header} h @param {'src' | 'dst'} side @param {boolean} ports */
function tail(h, side, ports) {
  const port = ports ? (endpoint(h, side).split(':')[1] ?? '') : '';
  return short(h[side]) + (port ? `:${port}` : '');
}

/** @param {{ list: Beat[] }} props */
function Player({ list }) {
  const { s, c, t } = usePage();
  const b = list[Math.min(s.beat, list.length - 1)];
  const real = duration(list);
  const slow = slowdown(list);
  const { name, sub } = head(b, s.lang);
  return html`<div class="scrub">
    <button type="button" class="btn small" onClick=${c.play}>${t(s.playing ? 'pause' : 'play')} <${Kbd} k=${t('space')} /></button>
    <span class="slow">${slow > 1 ? t('slowed', { n: slow.toLocaleString('en').replaceAll(',', '\u202f') }) : ''}</span>
    <input type="range" min="0" max=${list.length - 1} step="1" value=${s.beat} aria-label=${t('scrub')} aria-valuetext=${`${t('ticket.step', { n: b.index + 1, total: list.length })}: ${b.node} ${name} ${sub}`}
      onInput=${(/** @type {InputEvent} */ e) => c.seek(Number(/** @type {HTMLInputElement} */ (e.currentTarget).value))} />
    <span class="time">${real > 0 ? t('time.of', { at: span(b.step.at), of: span(real) }) : ''}</span>
  </div>`;
}
