import { createContext, useContext } from '../../vendor/htm-preact.js';
import { translate } from '../model/i18n.js';

/** @import { State } from '../model/state' */
/** @import { Controller } from '../controller' */
/** @typedef {{ s: State, c: Controller, t: (key: string, args?: import('../model/i18n').Args) => string }} Page */

export const PageContext = createContext(/** @type {Page} */ (/** @type {unknown} */ (null)));

/** What every view is given: the state, what can be done, and words. */
export const usePage = () => useContext(PageContext);

/** @param {State} s @param {Controller} c @returns {Page} */
export const page = (s, c) => ({ s, c, t: (key, args) => translate(s.lang, key, args) });
