import assert from 'node:assert/strict';
import test from 'node:test';

import { paint } from '../page/picture.js';

const ORANGE = [255, 145, 20];

/** @param {import('../page/picture.js').Style} style */
function painted(style) {
  const mask = Uint8Array.from({ length: 49 }, (_, i) => Number(i % 7 > 0 && i % 7 < 6 && i > 6 && i < 42)); // 5x5 of 7x7
  const tint = { width: 7, height: 7, data: new Uint8ClampedArray(49 * 4) };
  paint(/** @type {ImageData} */ (/** @type {unknown} */ (tint)), mask, ORANGE, style);
  return Array.from({ length: 49 }, (_, i) => tint.data[4 * i + 3]);
}

test('an outline is opaque, lies inside, and closes', () => {
  const alpha = painted({ visible: true, contour: true, opacity: 0 });
  assert.equal(alpha.filter((a) => a === 255).length, 16);
  assert.equal(alpha[8], 255);
  assert.equal(alpha[24], 0); // the middle
  assert.equal(alpha[0], 0);
});

test('a tint fills what the outline leaves', () => {
  const alpha = painted({ visible: true, contour: true, opacity: 0.4 });
  assert.equal(alpha.filter((a) => a === 102).length, 9);
  const bare = painted({ visible: true, contour: false, opacity: 0.4 });
  assert.equal(bare.filter((a) => a === 102).length, 25);
});

test('a mask at the edge of the picture has an outline there', () => {
  const tint = { width: 3, height: 3, data: new Uint8ClampedArray(36) };
  paint(/** @type {ImageData} */ (/** @type {unknown} */ (tint)), new Uint8Array(9).fill(1), ORANGE, { visible: true, contour: true, opacity: 0 });
  assert.deepEqual(Array.from({ length: 9 }, (_, i) => tint.data[4 * i + 3]), [255, 255, 255, 255, 0, 255, 255, 255, 255]);
  assert.deepEqual([...tint.data.slice(0, 3)], ORANGE);
});
