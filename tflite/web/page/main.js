/** The page: what is tapped, typed and chosen, and the loop that takes one frame after the other. */

import { download, keepAwake, keepOffline } from './browser.js';
import { Engine, UnfitError } from './engine.js';
import { area } from './mask.js';
import { listenToKeys } from './keys.js';
import { complain, element, Panel, say, sayAloud, squareMillimetres, wait } from './panel.js';
import { Picture } from './picture.js';
import { nextFrame, Source, SourceError } from './sources.js';

/** @typedef {{url: string, name: string, label: string, megabytes: number, phantom: boolean}} Listed */
/** @typedef {{version: string, clip: {url: string, name: string, phantom: boolean}, models: Listed[]}} List */

const SAVED_MS = 2000; // that the page says so

const panel = new Panel();
const picture = new Picture(element('canvas', 'picture'));
const source = new Source(element('video', 'video'), (message) => {
  complain(message);
  freeze(true);
});
/** @type {List} */ let list;
/** @type {Listed} */ let chosen;
/** @type {Engine | null} */ let engine = null;
/** @type {import('./engine.js').Opened | null} */ let opened = null;
/** @type {number[]} */ let areas = [];
/** @type {number | null} */ let pixelMm = null;
let sourceName = '';
let sourcePhantom = false;
/** @type {Promise<void> | null} */ let working = null;
/** @type {Promise<void> | null} */ let stepping = null;
let presented = 0;
const style = { visible: true, contour: true, opacity: 0.25 };

/** Take frames as they are shown; those that come while one is being segmented are dropped. */
async function loop() {
  for (;;) {
    const frame = await nextFrame(source.video);
    source.noteFrame(frame.mediaTime);
    showTime();
    const offered = frame.presentedFrames - presented;
    presented = frame.presentedFrames;
    await segment(Math.max(offered, 1));
  }
}

/**
 * Segment the frame that the source shows now and show both, unless another one is being segmented.
 * @param {number} offered see Panel.add.
 */
async function segment(offered) {
  if (working || !engine || !opened || !source.kind) return;
  working = segmentWith(engine, offered).finally(() => (working = null));
  await working;
}

/** Segment the frame that the source shows now, after any other. */
async function segmentThis() {
  while (working) await working;
  await segment(1);
}

/**
 * @param {Engine} engine
 * @param {number} offered
 */
async function segmentWith(engine, offered) {
  const startedMs = performance.now();
  try {
    const grabbed = await createImageBitmap(source.video);
    const grabbedMs = performance.now();
    const answer = await engine.segment(grabbed);
    const answeredMs = performance.now();
    picture.show(answer.picture, answer.masks, style);
    areas = answer.masks.map(area);
    const drawing = performance.now() - answeredMs + answer.maskMs;
    const total = performance.now() - startedMs;
    panel.add({ pre: grabbedMs - startedMs + answer.preMs, inference: answer.inferenceMs, drawing, total }, offered);
    showAreas();
    if (source.kind) wait(''); // else another source is being opened
  } catch (error) {
    if (!isAbort(error)) complain(`${chosen.name}: ${message(error)}`);
  }
}

/** Open the file that is chosen on the accelerator that is chosen, or else on WASM, and say why. */
async function openModel() {
  const wanted = /** @type {'webgpu' | 'wasm'} */ (choice('accelerator'));
  chosen = list.models[Number(choice('model'))];
  complain('');
  panel.clear();
  wait(`Loading ${chosen.label}`);
  try {
    say(await openOn(wanted));
  } catch (error) {
    if (isAbort(error)) return;
    if (error instanceof UnfitError && wanted !== 'wasm') {
      wait(`Loading ${chosen.label} on WASM`);
      try {
        say(`${await openOn('wasm')}: ${error.message}`, { caution: true });
      } catch (second) {
        if (!isAbort(second)) giveUp(second);
        return;
      }
    } else {
      giveUp(error);
      return;
    }
  }
  panel.setClasses(/** @type {import('./engine.js').Opened} */ (opened).about.classes);
  showMarks();
  wait(source.kind ? 'First frame' : '');
  if (!source.playing) await segmentThis();
}

/**
 * Open the chosen file in a new engine, which takes the old one's place at once.
 * @param {'webgpu' | 'wasm'} accelerator
 * @returns {Promise<string>} what runs where.
 */
async function openOn(accelerator) {
  engine?.close();
  opened = null;
  engine = new Engine();
  opened = await engine.open(chosen.url, accelerator);
  const threads = `${opened.threads} ${opened.threads > 1 ? 'threads' : 'thread'}`;
  return `${chosen.name} runs on ${accelerator === 'webgpu' ? 'WebGPU' : `WASM, ${threads}`}`;
}

/** @param {unknown} error */
function giveUp(error) {
  wait('');
  say('');
  complain(`${chosen.name}: ${message(error)}`);
}

/**
 * Change to another source.
 * @param {string} button id of what was pressed.
 * @param {string} name of the source, for files that are saved.
 * @param {boolean} phantom whether its images are simulated.
 * @param {() => Promise<void>} open
 */
async function openSource(button, name, phantom, open) {
  complain('');
  setScale(null);
  for (const other of document.querySelectorAll('.sources button')) other.setAttribute('aria-pressed', String(other.id === button));
  wait(opened ? `Opening ${name}` : 'Loading');
  [sourceName, sourcePhantom, presented] = [name, phantom, 0];
  panel.clear();
  showMarks();
  try {
    await open();
    freeze(false);
  } catch (error) {
    if (isAbort(error)) return;
    if (!(error instanceof SourceError)) throw error;
    wait('');
    complain(error.message);
  }
  element('div', 'seek-row').hidden = source.kind !== 'file';
}

async function openTest() {
  const response = await fetch(list.clip.url);
  const clip = await response.blob();
  await openSource('source-test', list.clip.name, list.clip.phantom, () => source.openFile(clip, list.clip.name));
  element('fieldset', 'cameras').hidden = true;
}

/** @param {File} file */
async function openFile(file) {
  await openSource('source-file', file.name, false, () => source.openFile(file, file.name));
  element('fieldset', 'cameras').hidden = true;
}

/** @param {string} [device] */
async function openCamera(device) {
  await openSource('source-camera', 'camera', false, () => source.openCamera(device));
  if (source.kind !== 'stream') return;
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === 'videoinput');
  const current = /** @type {MediaStream} */ (source.video.srcObject).getVideoTracks()[0].getSettings().deviceId;
  element('select', 'camera').replaceChildren(
    ...devices.map(({ label, deviceId }, i) => new Option(label || `Camera ${i + 1}`, deviceId, false, deviceId === current)),
  );
  element('fieldset', 'cameras').hidden = devices.length < 2;
}

async function openScreen() {
  await openSource('source-screen', 'screen', false, () => source.openScreen());
  element('fieldset', 'cameras').hidden = true;
}

/** @param {boolean} still */
async function freeze(still) {
  if (still) source.video.pause();
  else if (source.kind) await source.video.play();
  const frozen = !source.playing;
  if (frozen) await working; // the last frame is the one that stays
  panel.interrupt();
  element('button', 'freeze').setAttribute('aria-pressed', String(frozen));
  element('span', 'freeze-text').textContent = frozen ? 'Go on' : 'Freeze';
  document.getElementById('freeze-icon')?.setAttribute('href', frozen ? '#icon-play' : '#icon-pause');
  element('strong', 'frozen').hidden = !frozen;
  if (frozen) describe();
}

/** @param {number} count of frames. */
async function step(count) {
  if (!source.kind || stepping) return;
  stepping = stepOnce(count).finally(() => (stepping = null));
  await stepping;
}

/** @param {number} count */
async function stepOnce(count) {
  await freeze(true);
  await source.step(count);
  showTime();
  await segmentThis();
  describe();
}

/** @param {boolean} visible */
function setVisible(visible) {
  style.visible = visible;
  element('button', 'toggle').setAttribute('aria-pressed', String(visible));
  picture.draw(style);
}

/** @param {number | null} mm length of a pixel's side. */
function setScale(mm) {
  pixelMm = mm !== null && mm > 0 && mm <= 10 ? mm : null;
  if (mm === null) element('input', 'scale').value = '';
  showAreas();
}

async function save() {
  if (!picture.filled || !opened) return;
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(':', '-');
  const found = opened.about.classes.map((name, k) => `${name} ${areaText(areas[k])}`).join(', ');
  const mark = isPhantom() ? 'PHANTOM · ' : '';
  const caption = `${mark}${chosen.name} on ${opened.accelerator} · ${found} · ${sourceName} · not a medical device`;
  const files = await picture.files(opened.about.classes, caption);
  const all = element('input', 'save-all').checked;
  for (const [end, blob] of files) if (all || end === 'overlay') download(blob, `tfseg_${stamp}_${end}.png`);
  sayAloud(`Saved ${all ? `${files.size} pictures` : 'the picture'}`);
  wait(element('p', 'aloud').textContent);
  setTimeout(wait, SAVED_MS, '');
}

/** Tell the picture to those who listen; frame by frame it would be noise. */
function describe() {
  if (!opened || !areas.length) return;
  const text = opened.about.classes.map((name, k) => `${name}: ${areas[k] ? areaText(areas[k]) : 'nothing'}`).join('; ');
  element('canvas', 'picture').setAttribute('aria-label', `Frozen frame. ${text}`);
  sayAloud(`Frozen. ${text}`);
}

/** @param {number} pixels */
function areaText(pixels) {
  const count = `${pixels.toLocaleString('en')} px`;
  return pixelMm ? `${squareMillimetres(pixels, pixelMm)} (${count})` : count;
}

function showAreas() {
  if (opened && areas.length === opened.about.classes.length) panel.setAreas(areas, pixelMm);
}

function showMarks() {
  element('strong', 'phantom').hidden = !isPhantom();
}

function isPhantom() {
  return sourcePhantom || Boolean(opened?.about.phantom);
}

function showTime() {
  if (source.kind !== 'file') return;
  const { currentTime, duration } = source.video;
  const bar = element('input', 'seek');
  bar.max = String(duration);
  bar.value = String(currentTime);
  const text = `${currentTime.toFixed(2)} of ${duration.toFixed(2)} s`;
  bar.setAttribute('aria-valuetext', text);
  element('output', 'time').textContent = text;
}

/** @param {string} name of a group of radio buttons. */
function choice(name) {
  return /** @type {HTMLInputElement} */ (document.querySelector(`input[name="${name}"]:checked`)).value;
}

/** @param {unknown} error */
function isAbort(error) {
  return error instanceof DOMException && error.name === 'AbortError';
}

/** @param {unknown} error */
function message(error) {
  return error instanceof Error ? error.message : String(error);
}

function listModels() {
  element('fieldset', 'models').append(...list.models.map(({ label, name, megabytes }, i) => {
    const text = Object.assign(document.createElement('span'), { textContent: label });
    text.append(Object.assign(document.createElement('small'), { textContent: ` ${megabytes.toFixed(1)} MB` }));
    const input = Object.assign(document.createElement('input'), { type: 'radio', name: 'model', value: i, checked: i === 0 });
    input.setAttribute('aria-label', `${name}, ${megabytes.toFixed(1)} megabytes`);
    const shown = document.createElement('label');
    shown.append(input, text);
    return shown;
  }));
  element('span', 'version').textContent = `tfseg ${list.version}.`;
}

function listen() {
  const file = element('input', 'file');
  const tap = (/** @type {string} */ id, /** @type {() => unknown} */ act) => element('button', id).addEventListener('click', act);
  tap('source-test', openTest);
  tap('source-file', () => file.click());
  tap('source-camera', () => openCamera());
  tap('source-screen', openScreen);
  tap('toggle', () => setVisible(!style.visible));
  tap('freeze', async () => {
    await stepping; // for which a stream plays a moment
    await freeze(source.playing);
  });
  tap('step-back', () => step(-1));
  tap('step-next', () => step(1));
  tap('save', save);
  element('canvas', 'picture').addEventListener('click', () => setVisible(!style.visible));
  file.addEventListener('change', () => {
    if (file.files?.length) openFile(file.files[0]);
    file.value = ''; // so that the same file can be chosen again
  });
  for (const id of ['models', 'accelerators']) element('fieldset', id).addEventListener('change', openModel);
  element('select', 'camera').addEventListener('change', ({ target }) => openCamera(/** @type {HTMLSelectElement} */ (target).value));
  element('input', 'opacity').addEventListener('input', ({ target }) => {
    const { value } = /** @type {HTMLInputElement} */ (target);
    style.opacity = Number(value) / 100;
    element('output', 'opacity-text').textContent = `${value} %`;
    picture.draw(style);
  });
  element('input', 'contour').addEventListener('change', ({ target }) => {
    style.contour = /** @type {HTMLInputElement} */ (target).checked;
    picture.draw(style);
  });
  element('input', 'scale').addEventListener('input', ({ target }) => setScale(/** @type {HTMLInputElement} */ (target).valueAsNumber || 0));
  element('input', 'seek').addEventListener('input', async ({ target }) => {
    await freeze(true);
    await source.seek(Number(/** @type {HTMLInputElement} */ (target).value));
    await segmentThis();
  });
  listenToKeys();
}

async function begin() {
  await keepOffline();
  list = await (await fetch('/demo.json')).json();
  element('button', 'source-screen').hidden = !navigator.mediaDevices?.getDisplayMedia;
  listModels();
  listen();
  loop();
  await Promise.all([openModel(), openTest()]);
  await keepAwake();
}

begin().catch((error) => complain(`The page does not start: ${message(error)}`));
