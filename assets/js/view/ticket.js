// The ticket that travels with a packet: what it says on the envelope, what
// just changed, and why.

import { html } from '../../vendor/htm-preact.js';
import { endpoint, outcome, proof, reason, signs, sinceStart, why } from '../model/journey.js';
import { mainNode } from '../model/scene.js';
import { said, simulated } from '../model/compare.js';
import { currentColumns, currentTrace, currentTwin } from '../model/state.js';
import { usePage } from './context.js';
import { Address, Coloured } from './text.js';

/** @import { Beat } from '../model/journey' */

/** @param {{ list: Beat[], beat: Beat, boxRef: { current: HTMLElement | null } }} props */
export function Ticket({ list, beat, boxRef }) {
  const { s, t } = usePage();
  const trace = currentTrace(s);
  if (!trace) return null;
  const before = list[beat.index - 1]?.after ?? beat.before;
  const { after } = beat;
  const arp = after.proto === 'arp';
  const named = beat.step.point !== 'rx' && beat.step.point !== 'tx' && beat.node !== mainNode(s.snapshot)?.name;
  const ends = beat.last && outcome(trace) !== 'good' && beat.step.code === trace.code; // the end says the same, in full
  const explained = beat.step.evidence === 'explained';
  const sim = simulated(trace);
  const columns = currentColumns(s);
  const column = columns[s.beat];
  const told = currentTwin(s) && column;
  return html`<div class=${`ticket ${beat.last ? outcome(trace) : ''} ${sim ? 'sim' : ''}`} ref=${boxRef} role="group" aria-label=${t('ticket')}>
    <div class="hd"><b>${trace.summary}</b><span>${sim ? html`<b class="mark">${t('mode.sim')}</b> · ` : ''}${t('ticket.step', { n: s.beat + 1, total: columns.length })}${!sim && beat.step.timed ? ` · ${sinceStart(beat.step.at)}` : ''}</span></div>
    <dl>
      <dt>${t(arp ? 'field.asker' : 'field.src')}</dt><dd><${Change} was=${endpoint(beat.before, 'src')} is=${endpoint(after, 'src')} /></dd>
      <dt>${t(arp ? 'field.asked' : 'field.dst')}</dt><dd><${Change} was=${endpoint(beat.before, 'dst')} is=${endpoint(after, 'dst')} /></dd>
      ${arp && after.arpMAC && html`<dt>MAC</dt><dd class="plain">${after.arpMAC}</dd>`}
      ${after.outer && html`<dt>${t('field.outer')}</dt><dd><span class="plain">${after.outer.proto.toUpperCase()}</span> <${Change} was=${endpoint(beat.before.outer ?? after.outer, 'src')} is=${endpoint(after.outer, 'src')} /> <span aria-hidden="true">→</span> <${Change} was=${endpoint(beat.before.outer ?? after.outer, 'dst')} is=${endpoint(after.outer, 'dst')} /></dd>`}
      ${!arp && after.ttl !== undefined && html`<dt>TTL</dt><dd><span class="addr wash">${after.ttl}${before.ttl !== undefined && before.ttl !== after.ttl ? html`<span class="was"> ${t('was', { ttl: before.ttl })}</span>` : ''}</span></dd>`}
      ${!ends && html`<dt>${t('field.why')}</dt><dd class=${`why ${beat.rewrite ? 'hot' : ''}`}>${named ? `${beat.node}: ` : ''}<${Coloured} text=${why(beat, s.lang)} />${explained && html` <span class="ev explained">${t(`ev.${beat.step.evidence}`)}</span>`}</dd>`}
      ${told && html`<dt>${t('field.model')}</dt><dd class=${`plain model ${told.differs.length ? 'off' : ''}`}>${told.differs.length ? html`<b aria-hidden="true">≠</b> <${Coloured} text=${told.model ? t('ticket.said', { what: said(told.model, told.differs, s.lang) }) : t('differ.nothing')} />`
        : told.model ? html`<span aria-hidden="true">=</span> ${t('ticket.same')}` : html`<span aria-hidden="true">·</span> ${t('differ.unsaid')}`}</dd>`}
    </dl>
    ${beat.last && html`<div class="end"><b>${signs[outcome(trace)]} <${Coloured} text=${reason(trace, s.lang)} /></b>
      <span class="proof">${proof(trace, s.lang)}</span></div>`}
  </div>`;
}

/** @param {{ was: string, is: string }} props */
function Change({ was, is }) {
  if (!is) return html`<span class="plain">–</span>`;
  if (!was || was === is) return html`<${Address} of=${is} />`;
  return html`<span class="flip"><${Address} of=${was} old /><span aria-hidden="true">→</span><${Address} of=${is} /></span>`;
}
