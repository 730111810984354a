// What a real lab said; see fixtures/README.md.

import { readFileSync } from 'node:fs';

/** @param {string} name */
const read = (name) => JSON.parse(readFileSync(new URL(`fixtures/${name}.json`, import.meta.url), 'utf8'));

/** @returns {Record<string, import('../js/protocol').Snapshot>} */
export const snapshots = () => read('snapshots');
/** @returns {Record<string, import('../js/protocol').StepRun>} */
export const steps = () => read('steps');

/** A journey of a step, by the command that sent it and its place among that command's. @param {string} step @param {number} command @param {number} nth */
export function journey(step, command, nth) {
  const found = steps()[step].commands?.find((c) => c.index === command)?.traces?.[nth];
  if (!found) throw new Error(`no journey ${step} ${command} ${nth}`);
  return found;
}

/** Every journey there is, with where it is from. */
export function journeys() {
  return Object.entries(steps()).flatMap(([step, run]) => (run.commands ?? []).flatMap((c) => (c.traces ?? []).map((trace) => ({ step, trace }))));
}

/** The model's version of a journey the kernel made, with a change. @param {any} trace @param {(t: any) => void} [change] */
export function foreseen(trace, change = () => {}) {
  const t = structuredClone(trace);
  t.id = `model-${t.id}`;
  t.evidence = 'simulated';
  t.flow = `sim ${t.flow}`;
  t.start = 1;
  for (const h of t.hops) for (const s of h.steps) Object.assign(s, { evidence: 'simulated', at: 0, timed: false });
  change(t);
  return t;
}

/** A step that was run, with a forecast in which every journey has been changed. @param {string} id @param {(t: any) => void} [change] @returns {any} */
export function withForecast(id, change) {
  const run = structuredClone(steps()[id]);
  const commands = structuredClone(run.commands ?? []).map((c) => ({ ...c, traces: (c.traces ?? []).map((t) => foreseen(t, change)) }));
  return { ...run, forecast: { step: id, commands } };
}
