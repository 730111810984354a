// What the learner wants, turned into changes of the page and requests to the
// server. The views call these; so does the keyboard.

import { connect } from './socket.js';
import { tabs, modes, protocolVersion, currentStep, currentColumns, currentTrace, playlist, shownMode, stepTraces, primary, canRun, shownNode } from './model/state.js';
import { languages } from './model/i18n.js';

/** @import { State, Action, Tab, Mode } from './model/state' */
/** @import { Lang, Lesson, Message, Trace } from './protocol' */
/** @typedef {ReturnType<typeof createController>} Controller */

/**
 * @param {{ get: () => State, dispatch: (a: Action) => void }} store
 */
export function createController({ get, dispatch }) {
  /** @type {ReturnType<typeof connect> | null} */
  let link = null;

  /** @param {import('./protocol').Request} request @param {string} busy */
  const ask = (request, busy) => {
    if (!link?.send(request)) return;
    dispatch({ type: 'sent', busy });
  };

  /** @param {Message} m */
  const receive = (m) => {
    dispatch({ type: 'message', message: m });
    if (m.hello && get().lesson) link?.send({ type: 'open', v: protocolVersion, lesson: get().lesson?.id });
  };

  const c = {
    /** Fetches the lesson the address names (/lesson/ID, or /ID), and opens its lab. */
    async start() {
      const [, id = ''] = /^\/(?:lesson\/)?([^/]+)/.exec(location.pathname) ?? [];
      const lessons = await fetchJSON('/api/lessons');
      const list = Array.isArray(lessons) ? lessons : (lessons?.lessons ?? []);
      dispatch({ type: 'lessons', lessons: list });
      if (id) await c.open(decodeURIComponent(id), location.hash.slice(1));
      else if (list.length === 1) await c.open(list[0].id, location.hash.slice(1));
    },

    /** @param {string} id @param {string} step */
    async open(id, step) {
      const lesson = /** @type {Lesson | null} */ (await fetchJSON(`/api/lessons/${encodeURIComponent(id)}`));
      if (!lesson?.steps) return dispatch({ type: 'missing', id });
      dispatch({ type: 'lesson', lesson, step: decodeURIComponent(step) });
      if (!link) {
        const url = new URL('/ws', location.href);
        url.protocol = url.protocol.replace('http', 'ws');
        link = connect({
          url: url.href, onMessage: receive,
          onState: (conn, retryAt) => dispatch({ type: 'conn', conn, retryAt }),
        });
      }
    },

    /** @param {Lang} lang */
    speak(lang) {
      dispatch({ type: 'lang', lang });
      try { localStorage.setItem('vethlab.lang', lang); } catch { /* private mode: it is not remembered */ }
    },
    nextLanguage() {
      const i = languages.findIndex((l) => l.lang === get().lang);
      c.speak(languages[(i + 1) % languages.length].lang);
    },

    /** @param {Mode} mode */
    mode(mode) {
      dispatch({ type: 'mode', mode });
      try { localStorage.setItem('vethlab.mode', mode); } catch { /* private mode: it is not remembered */ }
    },
    nextMode() {
      const s = get();
      if (s.hello?.model) c.mode(modes[(modes.indexOf(shownMode(s)) + 1) % modes.length]);
    },

    /** @param {number} index */
    view(index) { dispatch({ type: 'view', index }); },

    primary() {
      const s = get();
      const step = currentStep(s);
      if (!step) return;
      switch (primary(s)) {
        case 'run': return ask({ type: 'run', step: step.id }, 'run');
        case 'next': return c.view(s.view + 1);
        case 'rebuild': return c.rebuild();
        case 'reach': return ask({ type: 'goto', step: step.id, done: false }, 'goto');
      }
    },

    /** One notch forward: the packet, then the next journey, then the lesson. */
    forward() {
      const s = get();
      const list = currentColumns(s);
      if (s.beat < list.length - 1) return dispatch({ type: 'beat', beat: s.beat + 1 });
      const next = c.neighbour(1);
      if (next && !s.busy) return dispatch({ type: 'trace', id: next.id });
      c.primary();
    },

    /** One notch back: the packet, the journey before, then the step is undone. */
    back() {
      const s = get();
      if (s.beat > 0) return dispatch({ type: 'beat', beat: s.beat - 1 });
      const before = c.neighbour(-1);
      if (before) {
        dispatch({ type: 'trace', id: before.id });
        return dispatch({ type: 'beat', beat: currentColumns(get()).length - 1 });
      }
      c.undo();
    },

    /** @param {number} by @returns {Trace | undefined} */
    neighbour(by) {
      const s = get();
      const list = playlist(s);
      const now = currentTrace(s)?.id;
      const i = list.findIndex((t) => t.id === now);
      return i < 0 ? undefined : list[i + by];
    },

    undo() {
      const s = get();
      const step = currentStep(s);
      if (!step || s.busy) return;
      if (s.runs[step.id] && canRun(s)) return ask({ type: 'goto', step: step.id, done: false }, 'goto');
      if (s.view > 0) c.view(s.view - 1);
    },
    again() {
      const s = get();
      const step = currentStep(s);
      if (step && s.runs[step.id] && !s.busy && canRun(s)) ask({ type: 'again', step: step.id }, 'again');
    },
    rebuild() {
      const s = get();
      if (canRun(s) && (s.lab?.state === 'lost' || !s.busy)) ask({ type: 'rebuild' }, 'rebuild');
    },
    stop() { link?.send({ type: 'stop' }); },

    /** @param {string} option */
    guess(option) {
      const s = get();
      const step = currentStep(s);
      if (!step?.predict || s.runs[step.id] || s.running) return;
      dispatch({ type: 'guess', step: step.id, option });
      link?.send({ type: 'predict', step: step.id, option });
    },

    play() {
      const s = get();
      const list = currentColumns(s);
      if (!list.length) return;
      if (s.playing) return dispatch({ type: 'play', playing: false });
      dispatch({ type: 'beat', beat: s.beat >= list.length - 1 ? 0 : s.beat, playing: true });
    },
    /** @param {number} beat @param {boolean} [playing] */
    seek(beat, playing = false) { dispatch({ type: 'beat', beat, playing }); },
    /** @param {string} id @param {boolean} [playing] */
    choose(id, playing = false) { dispatch({ type: 'trace', id, playing }); },
    /** @param {number} by */
    step(by) {
      const s = get();
      const list = s.foreign ? [s.foreign] : stepTraces(s);
      if (!list.length) return;
      const now = currentTrace(s)?.id;
      const i = list.findIndex((t) => t.id === now);
      c.choose(list[Math.max(0, Math.min(list.length - 1, i + by))].id);
    },
    /** @param {Trace} trace */
    foreign(trace) { dispatch({ type: 'foreign', trace }); },

    /** @param {Tab} tab */
    tab(tab) { dispatch({ type: 'tab', tab }); },
    /** @param {number} by */
    turn(by) {
      const i = tabs.indexOf(get().tab);
      c.tab(tabs[(i + by + tabs.length) % tabs.length]);
    },
    /** @param {string} node */
    node(node) { dispatch({ type: 'node', node }); },
    /** @param {number} seq */
    packet(seq) { dispatch({ type: 'packet', seq }); },
    /** @param {{ open?: boolean, height?: number }} d */
    drawer(d) { dispatch({ type: 'drawer', ...d }); },
    /** @param {boolean} open */
    help(open) { dispatch({ type: 'help', open }); },
    dismiss() { dispatch({ type: 'dismiss' }); },

    /** Sends a command line; whether it is on its way. @param {string} text @returns {boolean} */
    command(text) {
      const node = c.consoleNode();
      if (text === 'clear') dispatch({ type: 'clear' });
      if (text === 'help') dispatch({ type: 'say', node, text, said: 'console.hint' });
      if (text === 'clear' || text === 'help') return true;
      const id = link?.send({ type: 'command', node, text });
      if (id) dispatch({ type: 'ask', id, node, text });
      else dispatch({ type: 'failed', error: { code: 'offline', text: '' } });
      return Boolean(id);
    },
    consoleNode() {
      const s = get();
      return s.snapshot?.nodes.some((n) => n.name === s.consoleNode) ? s.consoleNode : shownNode(s);
    },
    /** @param {string} node */
    useConsole(node) { dispatch({ type: 'consoleNode', node }); },
  };
  return c;
}

/** @param {string} url @returns {Promise<any>} */
async function fetchJSON(url) {
  try {
    const res = await fetch(url, { headers: { accept: 'application/json' } });
    return res.ok ? await res.json() : null;
  } catch {
    return null;
  }
}
