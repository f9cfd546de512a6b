/** What the page shows of numbers: rates, times, areas; and lines for people. */

import { COLOURS } from './picture.js';
import { milliseconds, Rate, Window } from './statistics.js';

const FRAMES = 120; // that medians and percentiles look back on
const STAGES = { pre: 'Pre-processing', inference: 'Inference', drawing: 'Mask and drawing', total: 'All together' };

/** @typedef {keyof typeof STAGES} Stage */

/** The part of the page below the picture that changes with every frame. */
export class Panel {
  /** @type {Record<string, Window>} */ #windows = {};
  /** @type {Record<string, HTMLTableCellElement[]>} */ #cells = {};
  /** @type {HTMLElement[]} */ #areas = [];
  #shown = new Rate();
  #offered = new Rate();

  constructor() {
    for (const [stage, name] of Object.entries(STAGES)) {
      this.#windows[stage] = new Window(FRAMES);
      const row = element('tbody', 'times').insertRow();
      row.append(Object.assign(document.createElement('th'), { scope: 'row', textContent: name }));
      this.#cells[stage] = [row.insertCell(), row.insertCell()];
    }
  }

  /** Forget all times: another file or another source begins. */
  clear() {
    for (const window of Object.values(this.#windows)) window.clear();
    this.#shown.clear();
    this.#offered.clear();
    this.#write();
  }

  /** Frames do not come one after the other any more, so there is no rate. */
  interrupt() {
    this.#shown.clear();
    this.#offered.clear();
  }

  /**
   * Count a frame and what it took.
   * @param {Record<Stage, number>} times in ms.
   * @param {number} offered frames that the source has shown since the last one.
   */
  add(times, offered) {
    for (const [stage, ms] of Object.entries(times)) this.#windows[stage].add(ms);
    const now = performance.now();
    this.#shown.add(now);
    this.#offered.add(now, offered);
    this.#write();
  }

  /**
   * Name the classes.
   * @param {string[]} classes
   */
  setClasses(classes) {
    for (const tile of document.querySelectorAll('#readings .area')) tile.remove();
    this.#areas = classes.map((name, k) => {
      const tile = Object.assign(document.createElement('div'), { className: 'area' });
      const swatch = Object.assign(document.createElement('i'), { className: `swatch class-${k % COLOURS.length}` });
      const term = document.createElement('dt');
      term.append(swatch, name);
      const [big, small] = ['', 'small'].map((className) => Object.assign(document.createElement('dd'), { className }));
      big.textContent = '–';
      tile.append(term, big, small);
      element('dl', 'readings').append(tile);
      return tile;
    });
  }

  /**
   * Show the area of each class.
   * @param {number[]} areas in pixels of the picture.
   * @param {number | null} pixelMm length of a pixel's side; null where it is not known.
   */
  setAreas(areas, pixelMm) {
    areas.forEach((pixels, k) => {
      const [, big, small] = this.#areas[k].children;
      const [value, unit] = pixelMm ? squareMillimetres(pixels, pixelMm).split(' ') : [pixels.toLocaleString('en'), 'px'];
      big.replaceChildren(value, ' ', Object.assign(document.createElement('span'), { className: 'unit', textContent: unit }));
      small.textContent = pixelMm ? `${pixels.toLocaleString('en')} px` : 'area';
    });
  }

  #write() {
    const rate = this.#shown.perSecond;
    const offered = this.#offered.perSecond;
    element('dd', 'rate').textContent = Number.isNaN(rate) ? '–' : rate.toFixed(rate < 9.95 ? 1 : 0);
    element('dd', 'dropped').textContent = Number.isNaN(offered) ? 'shown' : `of ${Math.max(offered, rate).toFixed(0)}`;
    element('span', 'inference').textContent = milliseconds(this.#windows.inference.quantile(0.5));
    element('span', 'inference-p90').textContent = milliseconds(this.#windows.inference.quantile(0.9));
    element('span', 'counted').textContent = String(this.#windows.total.values.length);
    for (const [stage, [median, p90]] of Object.entries(this.#cells)) {
      median.textContent = milliseconds(this.#windows[stage].quantile(0.5));
      p90.textContent = milliseconds(this.#windows[stage].quantile(0.9));
    }
  }
}

/**
 * @param {number} pixels
 * @param {number} pixelMm
 */
export function squareMillimetres(pixels, pixelMm) {
  const area = pixels * pixelMm * pixelMm;
  return `${area.toLocaleString('en', { maximumFractionDigits: area < 100 ? 1 : 0 })} mm²`;
}

/**
 * Say something to those who listen, what others see anyway.
 * @param {string} text
 */
export function sayAloud(text) {
  element('p', 'aloud').textContent = text;
}

/**
 * Say something to everybody, also to those who listen.
 * @param {string} text
 * @param {{caution?: boolean}} [options] caution: this is not what was asked for.
 */
export function say(text, { caution = false } = {}) {
  const status = element('p', 'status');
  status.textContent = text;
  status.classList.toggle('caution', caution);
}

/**
 * Say what went wrong, or that nothing does.
 * @param {string} text '' takes it back.
 */
export function complain(text) {
  const problem = element('p', 'problem');
  problem.textContent = text;
  problem.hidden = !text;
}

/**
 * Show what the page is waiting for over the picture.
 * @param {string} text '' for nothing.
 */
export function wait(text) {
  const waiting = element('p', 'waiting');
  waiting.textContent = text;
  waiting.hidden = !text;
}

/**
 * Return the element of the page with that id.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} id
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, id) {
  const found = document.getElementById(id);
  if (found?.localName !== tag) throw new Error(`the page has no <${tag} id="${id}">`);
  return /** @type {HTMLElementTagNameMap[T]} */ (found);
}
