// The left column: what to do, what to expect, what came of it.

import { html, useEffect, useRef, useState } from '../../vendor/htm-preact.js';
import { because, checkText, localized } from '../model/i18n.js';
import { disagreements, words } from '../model/compare.js';
import { currentColumns, currentRun, currentStep, primary, canRun, shownMode } from '../model/state.js';
import { usePage } from './context.js';
import { CommandLine, Kbd, Label, Prose } from './text.js';
import { plainly } from '../model/terminal.js';

/** @import { Command, Line, LessonStep, Operation, StepRun } from '../protocol' */

export function LessonColumn() {
  const { s, c, t } = usePage();
  const step = currentStep(s);
  const box = /** @type {{ current: HTMLElement | null }} */ (useRef(null));
  useEffect(() => { box.current?.scrollTo(0, 0); }, [s.view, s.lesson?.id]);
  const run = currentRun(s);
  const seenRun = useRef('');
  useEffect(() => {
    // bring what the kernel says into view when a run ends
    const key = run ? `${run.id} ${run.state}` : '';
    if (key && key !== seenRun.current && step?.id === run?.id) {
      const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
      const el = /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector('.outcome>.note.bad') ?? box.current?.querySelector('.ask') ?? box.current?.querySelector('.outcome'));
      if (el && box.current) box.current.scrollTo({ top: el.offsetTop - 14, behavior: smooth ? 'smooth' : 'auto' });
    }
    seenRun.current = key;
  }, [run]);
  const more = useMore(box, [s.view, run, s.lang, s.running, s.guesses]);
  if (!step) return html`<section class="lesson" aria-label=${t('lesson')}><p class="lead">${t('loading')}</p></section>`;
  return html`<section class="lesson" aria-label=${t('lesson')}>
    <div class="scroll" ref=${box} tabindex="-1">
      <h1>${s.view + 1}. ${localized(s.lang, step.title)}</h1>
      ${!canRun(s) && (step.commands ?? []).length > 0 && html`<${NoKernel} />`}
      ${s.view === 0 && s.hello?.backend === 'sim' && html`<${Simulated} />`}
      ${s.view === 0 && html`<${Prose} docs=${s.lesson?.intro} class="intro" />`}
      <${Prose} docs=${step.prose} class="lead" />
      ${(step.commands ?? []).length > 0 && html`<${Commands} lines=${step.commands ?? []} step=${step} run=${run} />`}
      ${step.predict && html`<${Question} step=${step} run=${run} />`}
      ${run && html`<div class="outcome">
        ${run.state !== 'done' && html`<p class=${`note ${run.state === 'skipped' ? '' : 'bad'}`}>${t(run.state === 'broken' && s.lab?.state !== 'lost' ? 'run.rebuilt' : `run.${run.state}`)}</p>`}
        <${Verdict} step=${step} run=${run} />
        ${(run.state === 'done' || run.state === 'skipped') && html`<${Prose} docs=${step.after} class="after" />`}
        <${Checks} run=${run} />
        <${Foretold} run=${run} />
      </div>`}
    </div>
    ${more && html`<button type="button" class="more" tabindex="-1" aria-hidden="true" onClick=${() => box.current?.scrollBy({ top: box.current.clientHeight - 60, behavior: 'smooth' })}><span>↓ ${t('more')}</span></button>`}
    <${Actions} />
    ${canRun(s) && html`<p class="seed">${t('seed.before')} <${Kbd} k="T" /> ${t(s.hello?.backend === 'sim' ? 'seed.sim' : 'seed.after')}</p>`}
  </section>`;
}

/**
 * Whether there is more to read below what is seen.
 * @param {{ current: HTMLElement | null }} box @param {unknown[]} on
 */
function useMore(box, on) {
  const [more, set] = useState(false);
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const look = () => set(el.scrollHeight - el.scrollTop - el.clientHeight > 40);
    look();
    const seen = new ResizeObserver(look);
    for (const part of [el, ...el.children]) seen.observe(part);
    el.addEventListener('scroll', look, { passive: true });
    return () => {
      seen.disconnect();
      el.removeEventListener('scroll', look);
    };
  }, on);
  return more;
}

function NoKernel() {
  const { s, t } = usePage();
  return html`<div class="note bad" role="note">
    <b>${t('nokernel.title')}</b>
    ${s.hello?.reason && html`<p>${s.hello.reason}</p>`}
    ${s.hello?.fix && html`<p>${t('nokernel.fix')} <code>${s.hello.fix}</code></p>`}
    <p>${t('nokernel.read')}</p>
  </div>`;
}

/** That no kernel answers here, and why not. */
function Simulated() {
  const { s, t } = usePage();
  return html`<div class="note sim" role="note">
    <b>${t('sim.title')}</b>
    <p>${t('sim.what')}</p>
    ${s.hello?.reason && html`<p>${t('sim.why')} ${s.hello.reason}</p>`}
    ${s.hello?.fix && html`<p>${t('nokernel.fix')} <code>${s.hello.fix}</code></p>`}
  </div>`;
}

/** How the step came, beside what the model had said of it. @param {{ run: StepRun }} props */
function Foretold({ run }) {
  const { s, t } = usePage();
  if (!run.forecast || run.state === 'skipped' || run.state === 'broken') return null;
  const list = disagreements(run);
  const mode = shownMode(s);
  if (run.forecast.missing) return mode === 'kernel' ? null : html`<p class="foretold">${t('forecast.none', { why: because(s.lang, run.forecast.missing) })}</p>`;
  if (!list.length) return mode === 'kernel' ? null : html`<p class="foretold"><span aria-hidden="true">✓</span> ${t('forecast.held')}</p>`;
  const shown = list.slice(0, 6);
  return html`<details class="checks foretold" open>
    <summary class="off"><span aria-hidden="true">≠</span> ${t('forecast.off', { n: list.length })}</summary>
    <ul>${shown.map((d) => html`<li class="no"><span aria-hidden="true">≠</span><span><${Label} text=${words(d, s.lang)} /></span></li>`)}
      ${list.length > shown.length && html`<li>${t('forecast.more', { n: list.length - shown.length })}</li>`}</ul>
    <p class="hint">${t('forecast.judge')}</p>
  </details>`;
}

/** @param {{ lines: Line[], step: LessonStep, run: StepRun | undefined }} props */
function Commands({ lines, step, run }) {
  const { s, t } = usePage();
  const running = s.running?.step === step.id ? s.running : null;
  const done = run ? (run.commands ?? []) : running || s.busy === 'run' || s.busy === 'again' ? s.output : [];
  return html`<ol class="cmd" aria-label=${t('commands')}>
    ${lines.map((line, i) => {
      const result = done.find((d) => d.index === i);
      const now = running?.index === i && !result;
      return html`<li key=${`${step.id} ${i}`} class=${now ? 'now' : undefined}>
        <span class="line">${now && html`<i class="spin" role="img" aria-label=${t('running')}></i>`}<${CommandLine} node=${line.node} text=${line.text} /></span>
        ${result && html`<${Output} result=${result} open=${step.focus?.tab === 'commands' && step.focus.command === i} meant=${step.fails?.includes(i)} />`}
      </li>`;
    })}
    ${running && html`<li class="progress">${t('command.of', { n: running.index + 1, total: running.total })}</li>`}
  </ol>`;
}

/** What a command printed: short ones open, long ones folded. @param {{ result: Command, open?: boolean, meant?: boolean }} props */
export function Output({ result, open, meant }) {
  const { t } = usePage();
  const text = plainly([result.stdout, result.stderr].filter(Boolean).map((x) => String(x).replace(/\n$/, '')).join('\n'));
  const status = result.status !== 0 && html`<span class="status">${t(meant ? 'status.meant' : 'status', { n: result.status })}</span>`;
  const operations = result.operations?.length ? html`<${Operations} list=${result.operations} />` : null;
  if (!text) return status || operations ? html`${status && html`<div class="out">${status}</div>`}${operations}` : null;
  const count = text.split('\n').length;
  return html`${operations}<details class="out" open=${open || count <= 4 || (result.status !== 0 && count <= 8)}>
    <summary>${t('output', { n: count })}${status}</summary>
    <pre tabindex="0">${text}</pre>
  </details>`;
}

/** What a docker command consisted of, each line to be typed by hand. @param {{ list: Operation[] }} props */
function Operations({ list }) {
  const { t } = usePage();
  return html`<details class="out ops">
    <summary>${t('operations', { n: list.length })}</summary>
    <pre tabindex="0">${list.map((o) => `${o.node}# ${o.text}${o.status ? `  (${o.status})` : ''}`).join('\n')}</pre>
  </details>`;
}

/** @param {{ step: LessonStep, run: StepRun | undefined }} props */
function Question({ step, run }) {
  const { s, c, t } = usePage();
  const p = step.predict;
  if (!p) return null;
  const guess = run?.guess || s.guesses[step.id] || '';
  const open = !run && !s.running;
  return html`<section class="ask" aria-labelledby="question">
    <h2 id="question"><span class="pre">${t('predict')}</span> <${Label} text=${localized(s.lang, p.question)} /></h2>
    <div role="group" aria-labelledby="question">
    ${p.options.map((o, i) => {
      const right = run?.answer === o.id;
      const wrong = Boolean(run?.answer) && !right && guess === o.id;
      const mark = right ? '✓' : wrong ? '✗' : '';
      return html`<button key=${o.id} type="button" disabled=${!open} aria-pressed=${String(guess === o.id)}
        class=${`opt ${right ? 'y' : wrong ? 'x' : ''}`} onClick=${() => c.guess(o.id)}>
        <i aria-hidden="true">${mark}</i>
        <span class="what"><${Label} text=${localized(s.lang, o.label)} /></span>
        ${open && html`<${Kbd} k=${i + 1} />`}
        ${(right || wrong) && html`<span class="sr">${t(right ? 'option.right' : 'option.wrong')}</span>`}
      </button>`;
    })}
    </div>
    ${open && html`<p class="hint">${guess ? t(s.hello?.backend === 'sim' ? 'predict.takenSim' : 'predict.taken') : t('predict.skip')}</p>`}
  </section>`;
}

/** @param {{ step: LessonStep, run: StepRun }} props */
function Verdict({ step, run }) {
  const { s, t } = usePage();
  if (!step.predict) return null;
  const right = step.predict.options.find((o) => o.id === run.answer);
  const chosen = step.predict.options.find((o) => o.id === (run.guess || s.guesses[step.id]));
  if (run.state === 'skipped' || run.state === 'broken') return null;
  if (!run.answer && !run.observed) return html`<div class="verdict none">${t(s.hello?.backend === 'sim' ? 'verdict.simNone' : 'verdict.none')}</div>`;
  return html`<div class="verdict">
    <p><b>${t(s.hello?.backend === 'sim' ? (readsAlone(run.observed) ? 'verdict.sim' : 'verdict.simLabel') : run.explained ? 'verdict.explained' : readsAlone(run.observed) ? 'verdict' : 'verdict.label')} <${Label} text=${readsAlone(run.observed) ? run.observed : (localized(s.lang, right?.label) ?? run.observed)} />${t('verdict.stop')}</b>${' '}
      ${chosen && (chosen.id === run.answer ? t('verdict.right') : t('verdict.wrong'))}</p>
    ${chosen && chosen.id !== run.answer && chosen.why && html`<div class="mis"><p class="you">${t('verdict.you')} <${Label} text=${localized(s.lang, chosen.label)} /></p><${Prose} docs=${chosen.why} /></div>`}
    ${right?.why && html`<${Prose} docs=${right.why} />`}
  </div>`;
}

/** Whether a value reads by itself: an address, a number. @param {string | undefined} observed */
const readsAlone = (observed) => /^[\d.:/]+$/.test(observed ?? '');

/** @param {{ run: StepRun }} props */
function Checks({ run }) {
  const { s, t } = usePage();
  const list = run.checks ?? [];
  if (!list.length) return null;
  const held = list.filter((k) => k.ok).length;
  return html`<details class="checks" open=${held < list.length}>
    <summary>${held === list.length ? '✓' : '✗'} ${t('checks', { n: held, total: list.length })}</summary>
    <ul>${list.map((k) => html`<li class=${k.ok ? 'ok' : 'no'}><span aria-hidden="true">${k.ok ? '✓' : '✗'}</span>
      <span><span class="sr">${t(k.ok ? 'check.ok' : 'check.no')}</span><${Label} text=${checkText(s.lang, k)} />${!k.ok && k.got && html` <span class="got">${t('check.got', { got: k.got })}</span>`}</span></li>`)}</ul>
  </details>`;
}

/** Where to go from a lesson that is done. */
function Onward() {
  const { s, t } = usePage();
  const list = s.lessons ?? [];
  const next = list[list.findIndex((l) => l.id === s.lesson?.id) + 1];
  if (!next) return html`<a class="btn onward" href="/">${t('act.lessons')}</a>`;
  return html`<a class="btn p onward" href=${`/lesson/${encodeURIComponent(next.id)}`} title=${localized(s.lang, next.title)}>${t('act.onward')} <${Kbd} k="⏎" /></a>`;
}

function Actions() {
  const { s, c, t } = usePage();
  const what = primary(s);
  const step = currentStep(s);
  const run = currentRun(s);
  const waiting = what === 'wait';
  const labels = { run: 'act.run', next: 'act.next', reach: 'act.reach', rebuild: 'act.rebuild', finish: 'act.finish', wait: 'act.wait', none: 'act.none' };
  const inJourney = currentColumns(s).length > 0 && s.beat < currentColumns(s).length - 1;
  return html`<div class="actions">
    ${what === 'finish' || what === 'none' ? html`<span class="finished">${t(labels[what])}</span>${what === 'finish' && html`<${Onward} />`}`
      : html`<button type="button" class="btn p" disabled=${waiting} onClick=${c.primary}>${waiting && html`<i class="spin"></i>`}${t(labels[what])} <${Kbd} k=${what === 'rebuild' ? 'B' : inJourney ? '⏎' : '→'} /></button>`}
    ${what === 'rebuild' ? '' : s.running ? html`<button type="button" class="btn" onClick=${c.stop}>${t('act.stop')}</button>`
      : html`<button type="button" class="btn" disabled=${waiting || (!run && s.view === 0)} onClick=${c.undo}>${t(run && canRun(s) ? 'act.undo' : 'act.back')} <${Kbd} k="←" /></button>`}
    ${run && run.state !== 'broken' && what !== 'rebuild' && canRun(s) && html`<button type="button" class="btn" disabled=${waiting} onClick=${c.again}>${t('act.again')} <${Kbd} k="R" /></button>`}
  </div>`;
}

