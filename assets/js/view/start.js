// The page without a lesson: what this is, and what there is to learn.

import { html } from '../../vendor/htm-preact.js';
import { localized } from '../model/i18n.js';
import { usePage } from './context.js';
import { Prose } from './text.js';

export function Start() {
  const { s, t } = usePage();
  return html`<main class="start"><div class="in">
    ${s.missing && html`<div class="note bad" role="alert"><b>${t('missing', { id: s.missing })}</b> <p>${t('missing.do')}</p></div>`}
    <h1>${t('start.title')}</h1>
    <p class="lead">${t('start.lead')}</p>
    <${Picture} />
    <ol class="ways">${['predict', 'run', 'follow'].map((k) => html`<li key=${k}><b>${t(`start.${k}`)}</b> ${t(`start.${k}.what`)}</li>`)}</ol>
    ${s.lessons === null ? html`<p>${t('loading')}</p>` : s.lessons.length === 0 ? html`<p>${t('start.none')}</p>`
      : html`<ul class="cards">${s.lessons.map((l, i) => html`<li key=${l.id}><a class="card" href=${`/lesson/${encodeURIComponent(l.id)}`}>
        <span class="n">${i + 1}</span><b>${localized(s.lang, l.title) ?? l.id}</b>
        <${Prose} docs=${l.intro} />
        ${l.steps !== undefined && html`<span class="meta">${t('start.steps', { n: l.steps })} <span class="go" aria-hidden="true">→</span></span>`}</a></li>`)}</ul>`}
    <p class="hint">${t('start.model')}</p>
  </div></main>`;
}

/** The gates of the picture: name, what it says, centre. @type {[string, string, number][]} */
const gates = [['PREROUTING', '', 322], ['FORWARD', '', 520], ['POSTROUTING', 'MASQUERADE', 634]];

/** A packet leaves a container, as the stage will show it: its source changes colour where the rule rewrites it. */
function Picture() {
  const { t } = usePage();
  const y = 92;
  return html`<svg class="picture" viewBox="0 0 920 184" role="img" aria-label=${t('start.picture')}>
    <rect class="host" x="172" y="18" width="568" height="148" rx="16" />
    <text class="name" x="190" y="41">host</text>
    <path class="wire" d=${`M138 ${y}H782`} />
    <g class="c-teal"><rect class="node" x="14" y=${y - 30} width="124" height="60" rx="12" /><text class="name" x="30" y=${y - 5}>web</text><text class="mono" x="30" y=${y + 14}>172.17.0.2</text></g>
    <g class="c-magenta"><rect class="bar" x="200" y=${y - 36} width="28" height="72" rx="7" /><text class="bar" transform=${`translate(218.5 ${y}) rotate(-90)`}>docker0</text></g>
    <rect class="bed" x="252" y=${y - 45} width="446" height="80" rx="12" />
    <path class="way" d=${`M262 ${y}H688`} />
    ${gates.map(([name, what, x]) => html`<g class=${what ? 'gate c-orange acted' : 'gate'}><rect x=${x - 50} y=${y - 21} width="100" height="42" rx="8" />
      <text class="label" x=${x} y=${what ? y - 2 : y + 4}>${name}</text>${what && html`<text class="what" x=${x} y=${y + 12}>${what}</text>`}</g>`)}
    <g class="gate"><path d=${`M423 ${y - 24}L455 ${y}L423 ${y + 24}L391 ${y}z`} /><text class="label" x="423" y=${y + 4}>${t('point.route')}</text></g>
    <g class="c-orange"><rect class="chip" x="714" y=${y - 16} width="52" height="32" rx="8" /><text class="chip" x="740" y=${y + 4}>eth0</text></g>
    <g class="c-blue"><rect class="node" x="782" y=${y - 30} width="124" height="60" rx="12" /><text class="name" x="798" y=${y - 5}>internet</text><text class="mono" x="798" y=${y + 14}>203.0.113.10</text></g>
    <g class="traveller below"><g class="c-teal was"><rect x="-44" y="-10" width="88" height="20" rx="5" /><text y="4">172.17.0.2</text></g>
      <g class="c-orange is"><rect x="-50" y="-10" width="100" height="20" rx="5" /><text y="4">10.24.254.11</text></g></g>
    <g class="traveller"><circle class="c-teal was" r="9" /><circle class="c-orange is" r="9" /></g>
  </svg>`;
}
