// Text with coloured addresses: prose, labels, commands.

import { html } from '../../vendor/htm-preact.js';
import { tokens } from '../model/addresses.js';
import { localized } from '../model/i18n.js';
import { usePage } from './context.js';

/** @import { Doc, Docs } from '../protocol' */

/**
 * An address in its colour. `show` is what is written when that is not all of it.
 * @param {{ of: string | undefined, show?: string, old?: boolean }} props
 */
export function Address({ of, show, old }) {
  const { s } = usePage();
  if (!of) return null;
  const bare = of.split(/[/:]/)[0];
  const colour = s.colours.get(bare);
  const text = show ?? of;
  const cls = `addr ${colour ? `c-${colour}` : 'c-none'}`;
  return old ? html`<s class=${cls} title=${of}>${text}</s>` : html`<span class=${cls} title=${text === of ? undefined : of}>${text}</span>`;
}

/** A text in which every address has its colour. @param {{ text: string | undefined }} props */
export function Coloured({ text }) {
  return (text ?? '') && tokens(text ?? '').map((k) => k.kind === 'address' ? html`<${Address} of=${k.text} />`
    : k.kind === 'subnet' ? html`<span class="addr c-none">${k.text}</span>` : k.text);
}

/** The same, none of its words cut at a hyphen. @param {{ text: string | undefined }} props */
export function Words({ text }) {
  return (text ?? '').split(/(\s+)/).map((word) => (whole(word) ? html`<span class="whole"><${Coloured} text=${word} /></span>` : html`<${Coloured} text=${word} />`));
}

/** A label that may hold `code`. @param {{ text: string | undefined }} props */
export function Label({ text }) {
  return (text ?? '').split('`').map((part, i) => (i % 2 ? html`<${Code} text=${part} />` : html`<${Coloured} text=${part} />`));
}

/** Whether a word stays on one line: it would be cut at a hyphen, into "br-" and "demo". @param {string} word */
const whole = (word) => word.includes('-') && !/\s/.test(word) && word.length <= 24;

/** @param {{ text: string }} props */
function Code({ text }) {
  const list = tokens(text);
  if (list.length === 1 && list[0].kind !== 'text') return html`<${Coloured} text=${text} />`;
  return html`<code class=${whole(text) ? 'whole' : undefined}>${list.map((k) => (k.kind === 'address' ? html`<${Address} of=${k.text} />` : k.text))}</code>`;
}

const elements = new Set(['p', 'ul', 'ol', 'li', 'strong', 'em']);

/** @param {{ doc: Doc }} props @returns {any} */
function Piece({ doc }) {
  const inside = (doc.c ?? []).map((d) => html`<${Piece} doc=${d} />`);
  if (elements.has(doc.t)) return html`<${doc.t}>${inside}</${doc.t}>`;
  switch (doc.t) {
    case 'code': return html`<${Code} text=${doc.s ?? ''} />`;
    case 'pre': return html`<pre tabindex="0">${doc.s}</pre>`;
    case 'a': return /^https?:\/\//.test(doc.href ?? '') ? html`<a href=${doc.href} target="_blank" rel="noreferrer noopener">${inside}</a>` : inside;
    case 'text': return html`<${Coloured} text=${doc.s} />`;
    default: return [doc.s ?? '', ...inside];
  }
}

/** @param {{ docs: Docs | undefined, class?: string }} props */
export function Prose({ docs, class: cls }) {
  const { s } = usePage();
  const list = localized(s.lang, docs);
  return list?.length ? html`<div class=${`prose ${cls ?? ''}`}>${list.map((d) => html`<${Piece} doc=${d} />`)}</div>` : null;
}

/** A command line on the dark ground. @param {{ node: string, text: string }} props */
export function CommandLine({ node, text }) {
  return html`<span class="pr">${node}#</span> ${text.split(/(\s+)/).map((word) => {
    const list = tokens(word);
    if (list.some((k) => k.kind !== 'text')) {
      return list.map((k) => (k.kind === 'address' ? html`<${Address} of=${k.text} />` : k.text));
    }
    const key = /^(-[A-Za-z-].*|!|[A-Z]{4,})$/.test(word);
    return key || whole(word) ? html`<span class=${`${key ? 'k' : ''} ${whole(word) ? 'whole' : ''}`}>${word}</span>` : word;
  })}`;
}

/** @param {{ k: string }} props */
export const Kbd = ({ k }) => html`<kbd aria-hidden="true">${k}</kbd>`;
