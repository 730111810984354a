// Starts the page.

import { h, render } from '../vendor/htm-preact.js';
import { createStore } from './model/store.js';
import { initial, reduce } from './model/state.js';
import { firstLanguage } from './model/i18n.js';
import { createController } from './controller.js';
import { App } from './view/app.js';

/** What was chosen before; null where the browser keeps nothing. */
function remembered() {
  try { return localStorage.getItem('vethlab.lang'); } catch { return null; }
}

const store = createStore(reduce, initial(firstLanguage(remembered(), navigator.languages)));
const controller = createController(store);
render(h(App, { store, c: controller }), /** @type {Element} */ (document.getElementById('app')));
void controller.start();
