// The page without a lesson: what there is to learn.

import { html } from '../../vendor/htm-preact.js';
import { localized } from '../model/i18n.js';
import { usePage } from './context.js';

export function Start() {
  const { s, t } = usePage();
  return html`<main class="start">
    ${s.missing && html`<div class="note bad" role="alert"><b>${t('missing', { id: s.missing })}</b> <p>${t('missing.do')}</p></div>`}
    <h1>${t('start.title')}</h1>
    <p class="lead">${t('start.lead')}</p>
    ${s.lessons === null ? html`<p>${t('loading')}</p>` : s.lessons.length === 0 ? html`<p>${t('start.none')}</p>`
      : html`<ul class="cards">${s.lessons.map((l, i) => html`<li key=${l.id}><a class="card" href=${`/lesson/${encodeURIComponent(l.id)}`}>
        <span class="n">${i + 1}</span><b>${localized(s.lang, l.title) ?? l.id}</b>
        ${l.steps !== undefined && html`<span class="meta">${t('start.steps', { n: l.steps })}</span>`}</a></li>`)}</ul>`}
  </main>`;
}
