/** The keyboard: a key stands for a tap on what the page shows. */

import { element } from './panel.js';

/** @type {Record<string, string>} */
const BUTTONS = {
  ' ': 'freeze', ArrowLeft: 'step-back', ArrowRight: 'step-next', m: 'toggle', s: 'save',
  1: 'source-test', 2: 'source-file', 3: 'source-camera', 4: 'source-screen',
};

/** Take keys wherever they are not meant for a field. */
export function listenToKeys() {
  document.addEventListener('keydown', (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || isMeantFor(target, event.key)) return;
    if (event.key === 'c') element('input', 'contour').click();
    else if (BUTTONS[event.key]) element('button', BUTTONS[event.key]).click();
    else return;
    event.preventDefault();
  });
}

/**
 * Whether the element that has the focus does something with a key itself.
 * @param {HTMLElement} target
 * @param {string} key
 */
function isMeantFor(target, key) {
  if (target.matches('[type=number], select')) return true;
  if (key === ' ') return target.matches('button, [type=checkbox]');
  return key.startsWith('Arrow') && target.matches('input');
}
