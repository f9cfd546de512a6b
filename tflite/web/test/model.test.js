import assert from 'node:assert/strict';
import test from 'node:test';

import { masks, probabilities } from '../page/mask.js';
import { read } from '../page/model.js';
import { agree } from '../page/segmenter.js';

/** @type {import('../page/model.js').About} */
const ABOUT = {
  model: 'x', image_size: 2, channels: 1, classes: ['a'], input: 'uint8', head: 'probability', activation: 'sigmoid',
  threshold: 0.5, largest_component: false, precision: 'int8', training: '', dataset: '', phantom: false,
};

test('what is no model is refused in words', () => {
  assert.throws(() => read(new TextEncoder().encode('no model at all')), /^Error: not a \.tflite file$/);
  for (const length of [0, 3, 8, 9, 40]) {
    const content = new Uint8Array(length).fill(0xff);
    content.set(new TextEncoder().encode('TFL3').subarray(0, Math.max(0, Math.min(4, length - 4))), Math.min(4, length));
    assert.throws(() => read(content), /^Error: (not a|a damaged) \.tflite file/, `${length} bytes`);
  }
});

test('quantized outputs are taken back to probabilities', () => {
  const tensor = { shape: [1, 1, 3, 1], dtype: 'uint8', scale: 1 / 256, zeroPoint: 0 };
  assert.deepEqual([...probabilities(Uint8Array.of(0, 128, 255), tensor, ABOUT)[0]], [0, 0.5, 255 / 256]);
  assert.deepEqual(masks(Uint8Array.of(127, 128, 255), tensor, ABOUT, 3, 1).map((mask) => [...mask]), [[0, 1, 1]]);
  assert.throws(() => probabilities(Uint8Array.of(1), { ...tensor, scale: 0 }, ABOUT), /without a scale/);
});

test('a mask of class numbers has a map for each class', () => {
  const about = { ...ABOUT, classes: ['a', 'b'], head: /** @type {const} */ ('mask'), activation: /** @type {const} */ ('softmax') };
  const tensor = { shape: [1, 1, 4, 1], dtype: 'uint8', scale: 0, zeroPoint: 0 };
  assert.deepEqual(masks(Uint8Array.of(0, 1, 2, 1), tensor, about, 4, 1).map((mask) => [...mask]), [[0, 1, 0, 1], [0, 0, 1, 0]]);
});

test('an accelerator must give what the other one gives', () => {
  const expected = [Float32Array.from({ length: 1000 }, (_, i) => i / 1000)];
  const moved = (/** @type {(value: number, i: number) => number} */ by) => [expected[0].map(by)];
  assert.ok(agree(expected, moved((value) => value + 0.03))); // half precision
  assert.ok(agree(expected, moved((value, i) => (i < 9 ? 1 : value))));
  assert.ok(!agree(expected, moved((value, i) => (i < 30 ? 1 : value))));
  assert.ok(!agree(expected, moved(() => NaN)));
  assert.ok(!agree([new Float32Array(10).fill(0.01)], [new Float32Array(10)])); // near, and yet a run that failed
});
