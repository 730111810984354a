// All the page knows, and how each thing that happens changes it.

import { deal, palette } from './addresses.js';
import { beats, highlights, tracesOf } from './journey.js';
import { align, endsDiffer, simulated, twins } from './compare.js';

/**
 * @import { Lang, Lesson, LessonCard, LessonStep, Snapshot, Hello, Lab, StepRun, Command, Packet, Trace, Begin, ServerError, Message, Forecast } from '../protocol'
 * @import { Beat } from './journey'
 * @import { Column } from './compare'
 */

/**
 * @typedef {object} Entry  one command in the console
 * @property {number} id
 * @property {string} node
 * @property {string} text
 * @property {Command | null} result
 * @property {ServerError} [error]      why there is no result
 * @property {string} [said]            the key of the page's own answer, instead of a result
 */

/**
 * @typedef {object} State
 * @property {Lang} lang
 * @property {'connecting' | 'open' | 'lost'} conn
 * @property {number} retryAt           milliseconds since 1970; when conn is lost
 * @property {Hello | null} hello
 * @property {LessonCard[] | null} lessons
 * @property {Lesson | null} lesson
 * @property {string} missing           the lesson that was asked for and does not exist
 * @property {Lab | null} lab
 * @property {Snapshot | null} snapshot
 * @property {Map<string, string>} colours
 * @property {Packet[]} packets         the newest `keep` sightings, oldest first
 * @property {number} seen              sightings so far
 * @property {number} dropped          sightings that were lost
 * @property {number} unfollowed       sightings whose journeys were not followed
 * @property {number} view              index of the step on the page
 * @property {string} wanted            a step from the address bar, until the lab is known
 * @property {Begin | null} running
 * @property {Command[]} output         of the step that is running
 * @property {Forecast | null} forecast of the step that is running, before the kernel has answered
 * @property {Mode} mode                whose journeys the learner wants to see; see shownMode
 * @property {string} busy              the kind of request under way: run, again, goto, rebuild
 * @property {{ [step: string]: string }} guesses
 * @property {{ [id: string]: StepRun }} runs
 * @property {string} trace             id of the journey on the stage
 * @property {Trace | null} foreign     a journey of the console's, when that is on the stage
 * @property {number} beat
 * @property {boolean} playing
 * @property {Tab} tab
 * @property {number} packet            sequence number of the selected sighting; 0 is none
 * @property {string} node              whose tables the drawer shows
 * @property {boolean} drawer
 * @property {number} drawerHeight      0 is the style sheet's own
 * @property {boolean} help
 * @property {ServerError | null} error
 * @property {Entry[]} console
 * @property {string} consoleNode
 * @property {string} said              for the live region
 */

/** @typedef {'journey' | 'packets' | 'layers' | 'iptables' | 'conntrack' | 'neighbours' | 'interfaces' | 'console' | 'stage'} Tab */

/** @type {Tab[]} */
export const tabs = ['journey', 'packets', 'layers', 'iptables', 'conntrack', 'neighbours', 'interfaces', 'stage', 'console'];

/** @typedef {'sim' | 'kernel' | 'both'} Mode  the model's journeys, the kernel's, or the two side by side */

/** @type {Mode[]} */
export const modes = ['sim', 'kernel', 'both'];

/** The version of the messages that this page speaks: web/message.go. */
export const protocolVersion = 2;

/** How many sightings the page keeps. */
export const keep = 500;

/**
 * @typedef {{ type: 'conn', conn: State['conn'], retryAt?: number }
 *   | { type: 'lessons', lessons: LessonCard[] }
 *   | { type: 'lesson', lesson: Lesson, step: string }
 *   | { type: 'missing', id: string }
 *   | { type: 'home' }
 *   | { type: 'message', message: Message }
 *   | { type: 'sent', busy: string }
 *   | { type: 'lang', lang: Lang }
 *   | { type: 'mode', mode: Mode }
 *   | { type: 'view', index: number }
 *   | { type: 'guess', step: string, option: string }
 *   | { type: 'trace', id: string, beat?: number, playing?: boolean }
 *   | { type: 'foreign', trace: Trace }
 *   | { type: 'beat', beat: number, playing?: boolean }
 *   | { type: 'play', playing: boolean }
 *   | { type: 'tab', tab: Tab }
 *   | { type: 'packet', seq: number }
 *   | { type: 'node', node: string }
 *   | { type: 'drawer', open?: boolean, height?: number }
 *   | { type: 'help', open: boolean }
 *   | { type: 'dismiss' }
 *   | { type: 'ask', id: number, node: string, text: string }
 *   | { type: 'consoleNode', node: string }
 *   | { type: 'clear' }
 *   | { type: 'say', node: string, text: string, said: string }
 *   | { type: 'failed', error: ServerError }} Action
 */

/** @param {Lang} lang @param {Mode} [mode] @returns {State} */
export function initial(lang, mode = 'both') {
  return {
    lang, conn: 'connecting', retryAt: 0, hello: null, lessons: null, lesson: null, missing: '', lab: null, snapshot: null,
    colours: new Map(), packets: [], seen: 0, dropped: 0, unfollowed: 0, view: 0, wanted: '', running: null, output: [], forecast: null, mode, busy: '',
    guesses: {}, runs: {}, trace: '', foreign: null, beat: 0, playing: false, tab: 'journey', packet: 0, node: '',
    drawer: true, drawerHeight: 0, help: false, error: null, console: [], consoleNode: '', said: '',
  };
}

/**
 * @param {State} s
 * @param {Action} a
 * @returns {State}
 */
export function reduce(s, a) {
  switch (a.type) {
    case 'conn':
      return a.conn === 'open' ? { ...s, conn: 'open', retryAt: 0, error: s.error?.code === 'offline' ? null : s.error }
        : { ...s, conn: a.conn, retryAt: a.retryAt ?? 0, running: null, busy: '', console: s.console.filter((e) => e.result) };
    case 'lessons': return { ...s, lessons: a.lessons };
    case 'missing': return { ...s, missing: a.id };
    case 'home': return { ...initial(s.lang, s.mode), lessons: s.lessons, hello: s.hello, conn: s.conn };
    case 'lesson': return { ...s, lesson: a.lesson, missing: '', wanted: a.step, colours: s.snapshot ? deal(a.lesson, s.snapshot) : s.colours };
    case 'message': return receive(s, a.message);
    case 'sent': return { ...s, busy: a.busy, error: null, output: [], forecast: null, playing: false };
    case 'lang': return { ...s, lang: a.lang };
    case 'mode': return turned(s, { ...s, mode: a.mode });
    case 'view': return show({ ...s, view: clamp(a.index, stepsOf(s).length) });
    case 'guess': return { ...s, guesses: { ...s.guesses, [a.step]: a.option } };
    case 'trace': return { ...s, trace: a.id, foreign: null, beat: a.beat ?? 0, playing: a.playing ?? false };
    case 'foreign': return { ...s, trace: a.trace.id, foreign: a.trace, beat: 0, playing: false, tab: 'journey', drawer: true };
    case 'beat': return { ...s, beat: clamp(a.beat, currentColumns(s).length), playing: a.playing ?? false };
    case 'play': return { ...s, playing: a.playing };
    case 'tab': return { ...s, tab: a.tab, drawer: true };
    case 'packet': return { ...s, packet: a.seq };
    case 'node': return { ...s, node: a.node };
    case 'drawer': return { ...s, drawer: a.open ?? s.drawer, drawerHeight: a.height ?? s.drawerHeight };
    case 'help': return { ...s, help: a.open };
    case 'dismiss': return { ...s, error: null };
    case 'failed': return { ...s, error: a.error, busy: '', running: null };
    case 'ask': return { ...s, error: null, console: [...s.console.slice(-99), { id: a.id, node: a.node, text: a.text, result: null }] };
    case 'consoleNode': return { ...s, consoleNode: a.node };
    case 'clear': return { ...s, console: [] };
    case 'say': return { ...s, console: [...s.console, { id: -1 - s.console.length, node: a.node, text: a.text, said: a.said, result: { index: 0, node: a.node, text: a.text, status: 0 } }] };
  }
}

/**
 * @param {State} s
 * @param {Message} m
 * @returns {State}
 */
function receive(s, m) {
  // the world decides the colours; where there will be none, the text does
  if (m.hello) return { ...s, hello: m.hello, colours: m.hello.backend === 'none' && !s.colours.size ? deal(s.lesson, null) : s.colours };
  if (m.lab) return withLab(s, m.lab);
  if (m.snapshot) return withSnapshot(s, m.snapshot);
  if (m.packets) {
    // each node sends its own; the learner reads them as they happened
    const packets = [...s.packets, ...m.packets].sort((a, b) => a.at - b.at || a.seq - b.seq);
    return {
      ...s, packets: packets.length > keep ? packets.slice(-keep) : packets, seen: s.seen + m.packets.length,
      dropped: s.dropped + (m.dropped ?? 0),
    };
  }
  if (m.forecast) return foretold(s, m.forecast);
  if (m.begin) return m.begin.step ? { ...s, running: m.begin, output: m.begin.index === 0 ? [] : s.output } : s;
  if (m.command) {
    if (m.command.step) return turned(s, { ...s, output: [...s.output.filter((c) => c.index !== m.command?.index), m.command] });
    return answer(s, m.id ?? 0, m.command);
  }
  if (m.step) return withStep(s, m.step);
  if (m.error) {
    const waiting = s.console.find((e) => e.id === m.id && !e.result);
    if (waiting) {
      return answer(s, waiting.id, { index: 0, node: waiting.node, text: waiting.text, status: 1 }, m.error);
    }
    return { ...s, error: m.error, busy: '', running: null, said: `${m.error.text} ${m.error.do ?? ''}` };
  }
  if (m.done) return { ...s, busy: '', running: null };
  if (m.dropped) return { ...s, dropped: s.dropped + m.dropped };
  if (m.unfollowed) return { ...s, unfollowed: s.unfollowed + m.unfollowed };
  return s;
}

/**
 * The model's journeys are there before the kernel's.
 * @param {State} s @param {Forecast} forecast @returns {State}
 */
function foretold(s, forecast) {
  const next = { ...s, forecast };
  return forecast.step === currentStep(s)?.id ? { ...next, foreign: null, trace: playlist(next)[0]?.id ?? '', beat: 0 } : next;
}

/**
 * The packet stays where it is when the journey beneath it is told by another:
 * at the same point of the same packet's way.
 * @param {State} before @param {State} after @returns {State}
 */
function turned(before, after) {
  const trace = currentTrace(before);
  const now = currentTrace(after);
  if (!trace) return shownMode(before) === shownMode(after) ? after : show(after);
  if (!now) return { ...after, trace: playlist(after)[0]?.id ?? '', beat: 0, playing: false };
  const old = currentColumns(before)[before.beat];
  const list = currentColumns(after);
  const same = old ? list.find((c) => (c.kernel && c.kernel === old.kernel) || (c.model && c.model === old.model)) : undefined;
  const twin = same ?? list.find((c) => old && where(c) === where(old));
  return { ...after, trace: now.id, beat: clamp(twin?.index ?? before.beat, list.length) };
}

/** @param {Column} c */
function where(c) {
  const b = c.kernel ?? c.model;
  return b ? `${b.node} ${b.step.point} ${b.step.dev ?? ''}` : '';
}

/** @param {State} s @param {number} id @param {Command} result @param {ServerError} [error] */
function answer(s, id, result, error) {
  let found = false;
  const list = s.console.map((e) => (e.id === id && !e.result ? ((found = true), { ...e, result, error }) : e));
  if (!found) list.push({ id, node: result.node, text: result.text, result });
  return { ...s, console: list };
}

/** @param {State} s @param {Lab} lab @returns {State} */
function withLab(s, lab) {
  const fresh = s.lab?.id !== lab.id;
  const runs = lab.steps ? Object.fromEntries(lab.steps.map((r) => [r.id, r])) : fresh ? {} : s.runs;
  const guesses = { ...s.guesses, ...lab.guesses };
  /** @type {State} */
  let next = { ...s, lab, runs, guesses };
  if (lab.own) next.console = lab.own.map((result, i) => ({ id: -1 - i, node: result.node, text: result.text, result }));
  if (fresh) next = { ...next, packets: [], seen: 0, dropped: 0, unfollowed: 0 };
  if (lab.state === 'lost') next = { ...next, running: null, busy: '', playing: false };
  if (!s.lab || (fresh && s.lab.lesson !== lab.lesson)) {
    const steps = stepsOf(s);
    const wanted = steps.findIndex((step) => step.id === s.wanted);
    const upcoming = steps.findIndex((step) => step.id === lab.next);
    next = show({ ...next, view: wanted >= 0 ? wanted : upcoming >= 0 ? upcoming : lab.steps?.length ? steps.length - 1 : 0, wanted: '' });
  }
  const step = stepsOf(next)[next.view];
  if (step && s.runs[step.id] && !runs[step.id]) next = show(next);
  return next;
}

/** @param {State} s @param {Snapshot} snapshot @returns {State} */
function withSnapshot(s, snapshot) {
  const known = s.colours;
  let colours = s.snapshot ? known : deal(s.lesson, snapshot);
  for (const node of snapshot.nodes) {
    for (const link of node.links ?? []) {
      for (const { prefix } of link.addrs ?? []) {
        const address = prefix.split('/')[0];
        if (colours.has(address)) continue;
        if (colours === known) colours = new Map(known);
        colours.set(address, address.startsWith('127.') ? 'brown' : freeColour(colours));
      }
    }
  }
  return { ...s, snapshot, colours };
}

/** @param {Map<string, string>} colours */
function freeColour(colours) {
  const taken = new Set(colours.values());
  return palette.find((c) => !taken.has(c)) ?? palette[colours.size % (palette.length - 1)];
}

/** @param {State} s @param {StepRun} run @returns {State} */
function withStep(s, run) {
  const index = stepsOf(s).findIndex((step) => step.id === run.id);
  const over = run.state === 'done' || run.state === 'failed';
  // the lab message that names the next step comes after this one
  const lab = s.lab && over && s.lab.next === run.id ? { ...s.lab, next: stepsOf(s)[index + 1]?.id } : s.lab;
  const next = { ...s, lab, runs: { ...s.runs, [run.id]: run }, output: [], forecast: null, running: null, busy: s.busy === 'run' || s.busy === 'again' ? '' : s.busy };
  if (index !== s.view) return next;
  const shown = show(next, true);
  // who has set out with the model's journey already goes on from there
  const on = (s.beat > 0 || s.playing) && shownMode(s) !== 'kernel' ? turned(s, next) : null;
  return on && currentTrace(on) ? { ...shown, trace: on.trace, beat: on.beat, playing: s.playing } : shown;
}

/**
 * Turns the stage and the drawer to what the step on the page is about.
 * @param {State} s
 * @param {boolean} [turn]  also to the tab its author chose
 * @returns {State}
 */
function show(s, turn = false) {
  const step = currentStep(s);
  const first = playlist({ ...s, foreign: null })[0];
  const next = { ...s, foreign: null, trace: first?.id ?? '', beat: 0, playing: false, output: [] };
  if (!turn || !step) return next;
  const focus = step.focus?.tab;
  const tab = focus === 'commands' ? 'interfaces' : (tabs.find((t) => t === focus) ?? (first ? 'journey' : s.tab));
  return { ...next, tab, node: step.focus?.node || s.node };
}

/** @param {number} n @param {number} length */
const clamp = (n, length) => Math.max(0, Math.min(n, length - 1));

// ---- what follows from the state ----

/** @param {State} s @returns {LessonStep[]} */
export const stepsOf = (s) => s.lesson?.steps ?? [];

/** @param {State} s @returns {LessonStep | undefined} */
export const currentStep = (s) => stepsOf(s)[s.view];

/** @param {State} s @returns {StepRun | undefined} */
export const currentRun = (s) => s.runs[currentStep(s)?.id ?? ''];

/** Whose journeys are shown: what the learner wants, as far as there is any. @param {State} s @returns {Mode} */
export function shownMode(s) {
  if (s.hello?.backend === 'sim') return 'sim';
  return s.hello?.model ? s.mode : 'kernel';
}

/** What the model said of the step on the page. @param {State} s @returns {Forecast | null} */
export function currentForecast(s) {
  const run = currentRun(s);
  if (run) return run.forecast ?? null;
  return s.forecast && s.forecast.step === currentStep(s)?.id ? s.forecast : null;
}

/** @param {State} s */
const commandsRun = (s) => currentRun(s)?.commands ?? (currentRun(s) ? [] : s.output);

/** The journeys of the step on the page: the lab's own, then those of the model's that never were. @param {State} s @returns {Trace[]} */
export function stepTraces(s) {
  const mode = shownMode(s);
  const own = tracesOf(commandsRun(s)).sort((a, b) => a.start - b.start);
  if (mode === 'kernel' || s.hello?.backend === 'sim') return own;
  const model = tracesOf(currentForecast(s)?.commands).sort((a, b) => a.start - b.start);
  if (mode === 'sim') return model;
  const pairs = currentTwins(s);
  return [...own, ...model.filter((t) => !pairs.has(t.id))];
}

/** @type {WeakMap<object, WeakMap<object, Map<string, Trace>>>} */
const paired = new WeakMap();

/** Which journey of the model is which of the kernel's. @param {State} s @returns {Map<string, Trace>} */
export function currentTwins(s) {
  const kernel = commandsRun(s);
  const model = currentForecast(s)?.commands;
  if (!model || s.hello?.backend === 'sim') return new Map();
  const known = paired.get(kernel) ?? new WeakMap();
  paired.set(kernel, known);
  let map = known.get(model);
  if (!map) known.set(model, (map = twins(kernel, model)));
  return map;
}

/** The journeys `→` leads through. @param {State} s @returns {Trace[]} */
export function playlist(s) {
  if (s.foreign) return [s.foreign];
  const focus = currentStep(s)?.focus?.command ?? -1;
  const mode = shownMode(s);
  const lead = (/** @type {Command[]} */ commands) => {
    const chosen = tracesOf(commands.filter((c) => c.index === focus));
    return highlights(chosen.length ? chosen : tracesOf(commands));
  };
  const model = lead(currentForecast(s)?.commands ?? []);
  if (mode === 'sim' && s.hello?.backend !== 'sim') return model;
  const own = lead(currentRun(s)?.commands ?? (mode === 'both' ? s.output : []));
  return own.length || mode !== 'both' ? own : model;
}

/** @param {State} s @returns {Trace | null} */
export function currentTrace(s) {
  if (s.foreign) return s.foreign;
  const list = stepTraces(s);
  const twin = currentTwins(s).get(s.trace);
  return list.find((t) => t.id === s.trace) ?? (twin && list.find((t) => t.id === twin.id)) ?? null;
}

/** The same packet's journey as the model has it, beside the kernel's. @param {State} s @returns {Trace | null} */
export function currentTwin(s) {
  const trace = currentTrace(s);
  if (!trace || s.foreign || shownMode(s) !== 'both' || simulated(trace)) return null;
  return currentTwins(s).get(trace.id) ?? null;
}

/** @type {WeakMap<Trace, Beat[]>} */
const memo = new WeakMap();

/** @param {Trace | null} trace @returns {Beat[]} */
export function beatsOf(trace) {
  if (!trace) return none;
  let list = memo.get(trace);
  if (!list) memo.set(trace, (list = beats(trace)));
  return list;
}

/** @type {Beat[]} */
const none = [];

/** The journey on the stage. @param {State} s @returns {Beat[]} */
export const currentBeats = (s) => beatsOf(currentTrace(s));

/** @type {WeakMap<Beat[], WeakMap<Beat[], Column[]>>} */
const aligned = new WeakMap();

/**
 * The points of the journey that the learner goes through, with what each side
 * says there. s.beat counts these.
 * @param {State} s
 * @returns {Column[]}
 */
export function currentColumns(s) {
  const trace = currentTrace(s);
  const list = beatsOf(trace);
  const model = simulated(trace) ? none : beatsOf(currentTwin(s));
  const known = aligned.get(list) ?? new WeakMap();
  aligned.set(list, known);
  let columns = known.get(model);
  if (!columns) {
    const alone = simulated(trace) || !model.length;
    columns = align(simulated(trace) ? none : list, simulated(trace) ? list : model);
    // what the comparison of the whole command lets pass is not marked here
    if (alone || !otherwise(s)) columns = columns.map((c) => ({ ...c, differs: [] }));
    known.set(model, columns);
  }
  return columns;
}

/** Whether the server found the journeys of the command on the stage other than foreseen. @param {State} s */
function otherwise(s) {
  const twin = currentTwin(s);
  const command = currentForecast(s)?.commands?.find((c) => twin && c.traces?.includes(twin));
  return Boolean(command?.differs?.includes('journey'));
}

/** Whether the journey on the stage ended otherwise than foreseen. @param {State} s */
export function currentEndsDiffer(s) {
  const [trace, twin] = [currentTrace(s), currentTwin(s)];
  return Boolean(trace && twin && otherwise(s) && endsDiffer(trace, twin));
}

/**
 * Where the journey on the stage is, as an index of currentBeats: at its last
 * point until now, where the other side goes on alone.
 * @param {State} s
 */
export function currentBeat(s) {
  const trace = currentTrace(s);
  return lastBeat(currentColumns(s), s.beat, simulated(trace) ? 'model' : 'kernel');
}

/** @param {Column[]} columns @param {number} at @param {'kernel' | 'model'} side */
export function lastBeat(columns, at, side) {
  for (let i = Math.min(at, columns.length - 1); i >= 0; i--) {
    const b = columns[i][side];
    if (b) return b.index;
  }
  return 0;
}

/**
 * What the big button does.
 * @param {State} s
 * @returns {'run' | 'next' | 'reach' | 'rebuild' | 'finish' | 'wait' | 'none'}
 */
export function primary(s) {
  const step = currentStep(s);
  if (!step) return 'none';
  const last = s.view === stepsOf(s).length - 1;
  if (!canRun(s)) return last ? 'none' : 'next';
  if (s.runs[step.id] && s.lab?.next !== step.id && !s.busy && s.lab?.state !== 'lost') return last ? 'finish' : 'next';
  if (s.lab?.state === 'lost' && !s.busy) return 'rebuild';
  if (s.busy || !s.lab || ['starting', 'rebuilding', 'running', 'lost'].includes(s.lab.state)) return 'wait';
  if (s.lab.next === step.id) return 'run';
  return 'reach';
}

/** Whether there is a backend to run anything on. @param {State} s */
export const canRun = (s) => s.hello?.backend !== 'none' && s.lab?.state !== 'none';

/** How a step stands: for the dots in the header. @param {State} s @param {LessonStep} step */
export function standing(s, step) {
  const run = s.runs[step.id];
  if (run) return run.state === 'done' || run.state === 'skipped' ? 'done' : 'failed';
  return s.lab?.next === step.id ? 'next' : 'ahead';
}

/** The name of the node whose tables the drawer shows. @param {State} s */
export function shownNode(s) {
  const nodes = s.snapshot?.nodes ?? [];
  if (nodes.some((n) => n.name === s.node)) return s.node;
  return (nodes.find((n) => n.name === 'host') ?? nodes[0])?.name ?? '';
}

/** The header the Layers tab shows: the selected sighting's, or the journey's. @param {State} s */
export function shownPacket(s) {
  return s.packets.find((p) => p.seq === s.packet) ?? null;
}
