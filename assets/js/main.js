// Starts the page.

import { h, render } from '../vendor/htm-preact.js';
import { createStore } from './model/store.js';
import { initial, modes, reduce } from './model/state.js';
import { firstLanguage } from './model/i18n.js';
import { createController } from './controller.js';
import { App } from './view/app.js';

/** What was chosen before; null where the browser keeps nothing. @param {string} what */
function remembered(what) {
  try { return localStorage.getItem(`vethlab.${what}`); } catch { return null; }
}

const mode = modes.find((m) => m === remembered('mode'));

const store = createStore(reduce, initial(firstLanguage(remembered('lang'), navigator.languages), mode));
const controller = createController(store);
render(h(App, { store, c: controller }), /** @type {Element} */ (document.getElementById('app')));
void controller.start();
