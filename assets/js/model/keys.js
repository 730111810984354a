// The keyboard. The whole lesson can be done with it; the help dialog lists this.

/**
 * @typedef {'forward' | 'back' | 'primary' | 'play' | 'again' | 'rebuild' | 'nextTab' | 'prevTab' | 'console'
 *   | 'drawer' | 'lang' | 'help' | 'escape' | 'first' | 'last' | 'nextTrace' | 'prevTrace' | 'readOn' | 'readBack' | 'mode'} Intent
 */

/** @type {{ keys: string[], intent: Intent | 'guess', help: string }[]} */
export const bindings = [
  { keys: ['ArrowRight'], intent: 'forward', help: 'keys.forward' },
  { keys: ['ArrowLeft'], intent: 'back', help: 'keys.back' },
  { keys: ['Enter'], intent: 'primary', help: 'keys.primary' },
  { keys: [' '], intent: 'play', help: 'keys.play' },
  { keys: ['Home', 'End'], intent: 'last', help: 'keys.ends' },
  { keys: ['ArrowUp', 'ArrowDown'], intent: 'nextTrace', help: 'keys.trace' },
  { keys: ['PageUp', 'PageDown'], intent: 'readOn', help: 'keys.read' },
  { keys: ['r'], intent: 'again', help: 'keys.again' },
  { keys: ['b'], intent: 'rebuild', help: 'keys.rebuild' },
  { keys: ['1', '…', '9'], intent: 'guess', help: 'keys.guess' },
  { keys: ['j', 'k'], intent: 'nextTab', help: 'keys.tabs' },
  { keys: ['d'], intent: 'drawer', help: 'keys.drawer' },
  { keys: ['t'], intent: 'console', help: 'keys.console' },
  { keys: ['s'], intent: 'mode', help: 'keys.mode' },
  { keys: ['l'], intent: 'lang', help: 'keys.lang' },
  { keys: ['?'], intent: 'help', help: 'keys.help' },
  { keys: ['Escape'], intent: 'escape', help: 'keys.escape' },
];

/** @type {Record<string, Intent>} */
const plain = {
  ArrowRight: 'forward', ArrowLeft: 'back', ArrowDown: 'nextTrace', ArrowUp: 'prevTrace', Enter: 'primary', ' ': 'play',
  Home: 'first', End: 'last', PageDown: 'readOn', PageUp: 'readBack', r: 'again', b: 'rebuild', j: 'nextTab', k: 'prevTab', d: 'drawer', t: 'console', l: 'lang', s: 'mode',
  '?': 'help', Escape: 'escape',
};

/**
 * What a key asks for, or null where the key belongs to what has the focus.
 * @param {{ key: string, ctrlKey: boolean, metaKey: boolean, altKey: boolean, repeat: boolean }} e
 * @param {'none' | 'button' | 'field' | 'scroll' | 'dialog'} focus
 * @returns {Intent | { guess: number } | null}
 */
export function intentOf(e, focus) {
  if (e.ctrlKey || e.metaKey || e.altKey) return null;
  const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  if (key === 'Escape') return 'escape';
  if (focus === 'dialog') return key === '?' ? 'escape' : null;
  if (focus === 'field') return null;
  if (focus === 'button' && (key === 'Enter' || key === ' ')) return null;
  if (focus === 'scroll' && (key.startsWith('Arrow') || key === 'Home' || key === 'End' || key.startsWith('Page'))) return null;
  if (/^[1-9]$/.test(key)) return { guess: Number(key) - 1 };
  const intent = plain[key] ?? null;
  if (e.repeat && intent && ['primary', 'again', 'rebuild', 'lang', 'mode', 'help', 'drawer'].includes(intent)) return null;
  return intent;
}
