import { html, useEffect, useState } from '../../vendor/htm-preact.js';
import { languages, localized } from '../model/i18n.js';
import { modes, shownMode, stepsOf, standing } from '../model/state.js';
import { usePage } from './context.js';

export function Header() {
  const { s, c, t } = usePage();
  const steps = stepsOf(s);
  const title = localized(s.lang, s.lesson?.title);
  return html`<header class="top">
    <a class="logo" href="/" aria-label=${t('home')}>veth<i>lab</i></a>
    ${title && html`<span class="crumb"><span class="nth"><i aria-hidden="true">${t('step.of', { n: steps.length, total: steps.length })}</i><span>${t('step.of', { n: s.view + 1, total: steps.length })}</span></span> <b>${title}</b></span>`}
    ${steps.length > 0 && html`<nav class="dots" aria-label=${t('steps')} style=${{ '--n': steps.length }}>
      ${steps.map((step, i) => {
        const how = standing(s, step);
        const name = `${i + 1}. ${localized(s.lang, step.title) ?? step.id}`;
        return html`<button key=${step.id} type="button" class=${`dot ${how}`} title=${name} aria-label=${`${name} (${t(`standing.${how}`)})`}
          aria-current=${i === s.view ? 'step' : undefined} onClick=${() => c.view(i)}></button>`;
      })}
    </nav>`}
    <span class="right">
      ${s.lesson && html`<${LabTag} />`}
      ${s.lesson && html`<${Switch} />`}
      <span class="seg" role="group" aria-label=${t('language')}>
        ${languages.map((l) => html`<button key=${l.lang} type="button" lang=${l.lang} aria-pressed=${String(s.lang === l.lang)} title=${l.name} onClick=${() => c.speak(l.lang)}>${l.label}</button>`)}
      </span>
      <button type="button" class="btn small" aria-label=${t('help')} title=${t('help')} onClick=${() => c.help(true)}>?</button>
    </span>
  </header>`;
}

/** Whose journeys are shown. */
function Switch() {
  const { s, c, t } = usePage();
  const now = shownMode(s);
  const offered = s.hello?.backend === 'sim' ? ['sim'] : s.hello?.model ? modes : ['kernel'];
  return html`<span class="seg modes" role="group" aria-label=${t('mode')}>
    ${modes.map((m) => {
      const there = !s.hello || offered.includes(m);
      return html`<button key=${m} type="button" aria-pressed=${String(now === m && there)} disabled=${!there || !s.hello}
        title=${t(there ? `mode.${m}.what` : s.hello?.backend === 'sim' ? 'mode.nokernel' : 'mode.nomodel')} onClick=${() => c.mode(m)}>${t(`mode.${m}`)}</button>`;
    })}
  </span>`;
}

function LabTag() {
  const { s, t } = usePage();
  const seconds = useCountdown(s.conn === 'lost' ? s.retryAt : 0);
  if (s.conn === 'lost') return html`<span class="tag warn">○ ${t('conn.lost', { n: seconds })}</span>`;
  if (s.hello?.backend === 'none') return html`<span class="tag bad" title=${s.hello.reason}>✕ ${t('lab.none')}</span>`;
  if (!s.lab) return html`<span class="tag wait"><i class="spin"></i> ${t('conn.connecting')}</span>`;
  const id = s.lab.id;
  switch (s.lab.state) {
    case 'lost': return html`<span class="tag bad">✕ ${t('lab.lost', { id })}</span>`;
    case 'none': return html`<span class="tag bad">✕ ${t('lab.none')}</span>`;
    case 'starting': return html`<span class="tag wait"><i class="spin"></i> ${t('lab.starting')}</span>`;
    case 'rebuilding': return html`<span class="tag wait"><i class="spin"></i> ${t('lab.rebuilding', { id })}</span>`;
  }
  const nodes = (s.snapshot?.nodes ?? []).filter((n) => n.kind !== 'switch').length;
  if (s.hello?.backend === 'sim') {
    return html`<span class="tag sim" title=${t('sim.what')}>${s.lab.state === 'running' || s.busy ? html`<i class="spin"></i>` : html`<i class="lamp" aria-hidden="true"></i>`} ${t('lab.sim', { id, nodes })}</span>`;
  }
  return html`<span class="tag" title=${s.lab.variant ? t('lab.variant', { variant: s.lab.variant }) : undefined}>
    ${s.lab.state === 'running' || s.busy ? html`<i class="spin"></i>` : html`<i class="lamp" aria-hidden="true"></i>`} ${t('lab.ready', { id, nodes })}
  </span>`;
}

/** Whole seconds until a moment. @param {number} at */
function useCountdown(at) {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!at) return;
    const timer = setInterval(() => tick((n) => n + 1), 500);
    return () => clearInterval(timer);
  }, [at]);
  return Math.max(0, Math.ceil((at - Date.now()) / 1000));
}
