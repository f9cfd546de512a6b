/** From what a file gives to masks at the picture's size, in the numbers of tfseg/lite/interpret.py and postprocess.py. */

import { enlargedClasses, enlargedMask } from './resize.js';

/** @typedef {import('./model.js').About} About */
/** @typedef {import('./model.js').TensorInfo} TensorInfo */

/**
 * Return the masks of all classes, as `binarize` of postprocess.py has it: of exclusive classes and the background the most
 * probable, else each class from the threshold on. What the file gives is resized first, a mask's 0 and 1 too.
 * @param {Float32Array | Int32Array | Uint8Array} output of the file: (1, H, W, K), or (1, H, W, 1) of class numbers.
 * @param {TensorInfo} tensor what the file says of that output.
 * @param {About} about how it is to be used.
 * @param {number} width of the picture, in pixels.
 * @param {number} height of the picture, in pixels.
 * @returns {Uint8Array[]} one (height, width) a class, 0 or 1.
 */
export function masks(output, tensor, about, width, height) {
  const [, rows, columns] = tensor.shape;
  const threshold = Math.fround(about.head === 'mask' ? 0.5 : about.threshold);
  const maps = probabilities(output, tensor, about);
  const found = exclusive(about)
    ? enlargedClasses(maps, columns, rows, width, height)
    : maps.map((map) => enlargedMask(map, columns, rows, width, height, threshold));
  return found.map((mask) => {
    return dropSmall(about.largest_component ? keepLargest(mask, width) : mask, about.smallest_area ?? 0);
  });
}

/**
 * Return the probabilities of all classes.
 * @param {Float32Array | Int32Array | Uint8Array} output see `masks`.
 * @param {TensorInfo} tensor
 * @param {About} about
 * @returns {Float32Array[]} one (H, W) a class, in [0, 1].
 */
export function probabilities(output, tensor, about) {
  const classes = about.classes.length;
  const given = tensor.shape[3];
  const pixels = output.length / given;
  const maps = about.classes.map(() => new Float32Array(pixels));
  const values = about.head === 'mask' || tensor.dtype === 'float32' ? output : dequantized(output, tensor);
  for (let k = 0; k < classes; k++) {
    const map = maps[k];
    if (about.head === 'mask' && exclusive(about)) for (let i = 0; i < pixels; i++) map[i] = values[i] === k + 1 ? 1 : 0;
    else if (about.head !== 'logits') for (let i = 0; i < pixels; i++) map[i] = values[i * given + k];
    else if (about.activation !== 'softmax') for (let i = 0; i < pixels; i++) map[i] = sigmoid(values[i * given + k]);
  }
  if (about.head === 'logits' && about.activation === 'softmax') softmaxInto(maps, values, pixels);
  return maps;
}

/**
 * Empty a mask that covers less of the picture than that.
 * @param {Uint8Array} mask 0 or 1; changed in place.
 * @param {number} smallest share of the picture, in [0, 1).
 * @returns {Uint8Array} `mask`.
 */
export function dropSmall(mask, smallest) {
  if (smallest > 0 && mask.reduce((sum, pixel) => sum + pixel, 0) < smallest * mask.length) mask.fill(0);
  return mask;
}

/**
 * Keep the largest component of a mask; pixels that share a side or a corner belong together.
 *
 * Of components of one size the first stays: the one that reading the rows from the top left meets first.
 * @param {Uint8Array} mask (height, width), 0 or 1; changed in place.
 * @param {number} width
 * @returns {Uint8Array} `mask`.
 */
export function keepLargest(mask, width) {
  const { left, right, row, joined } = runs(mask, width);
  const sizes = new Map();
  for (let i = 0; i < row.length; i++) {
    const root = find(joined, i);
    sizes.set(root, (sizes.get(root) ?? 0) + right[i] - left[i]);
  }
  let best = -1;
  for (const [root, size] of sizes) if (best < 0 || size > sizes.get(best) || (size === sizes.get(best) && root < best)) best = root;
  for (let i = 0; i < row.length; i++) {
    if (find(joined, i) !== best) mask.fill(0, row[i] * width + left[i], row[i] * width + right[i]);
  }
  return mask;
}

/**
 * Count a mask's pixels.
 * @param {Uint8Array} mask 0 or 1.
 */
export function area(mask) {
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i];
  return count;
}

/**
 * List the runs of ones, row by row, [left, right) each, and join those that touch: `joined[i]` leads to the first run.
 * @param {Uint8Array} mask
 * @param {number} width
 */
function runs(mask, width) {
  /** @type {{left: number[], right: number[], row: number[], joined: number[]}} */
  const found = { left: [], right: [], row: [], joined: [] };
  let own = 0; // the first run of this row
  for (let y = 0; y * width < mask.length; y++) {
    const above = own; // the first run of the row above
    own = found.row.length;
    const end = (y + 1) * width;
    for (let at = mask.indexOf(1, y * width); at >= 0 && at < end; at = mask.indexOf(1, at)) {
      let stop = at;
      while (stop < end && mask[stop]) stop++;
      add(found, at - y * width, stop - y * width, y, above, own);
      at = stop;
    }
  }
  return found;
}

/**
 * @param {{left: number[], right: number[], row: number[], joined: number[]}} found
 * @param {number} left
 * @param {number} right
 * @param {number} y
 * @param {number} above
 * @param {number} own
 */
function add(found, left, right, y, above, own) {
  const index = found.row.length;
  found.left.push(left);
  found.right.push(right);
  found.row.push(y);
  found.joined.push(index);
  for (let i = above; i < own; i++) {
    if (found.row[i] !== y - 1 || found.left[i] > right || found.right[i] < left) continue; // a corner is enough
    const [a, b] = [find(found.joined, i), find(found.joined, index)];
    found.joined[Math.max(a, b)] = Math.min(a, b);
  }
}

/**
 * @param {number[]} joined
 * @param {number} index
 */
function find(joined, index) {
  while (joined[index] !== index) index = joined[index] = joined[joined[index]];
  return index;
}

/** @param {About} about */
function exclusive(about) {
  return about.activation === 'softmax' && about.classes.length > 1;
}

/** @param {number} x */
function sigmoid(x) {
  return 0.5 + 0.5 * Math.tanh(0.5 * x);
}

/**
 * Softmax with a background of logit 0 that has no channel.
 * @param {Float32Array[]} maps
 * @param {ArrayLike<number>} logits (pixels, K)
 * @param {number} pixels
 */
function softmaxInto(maps, logits, pixels) {
  const classes = maps.length;
  for (let i = 0; i < pixels; i++) {
    let top = 0;
    for (let k = 0; k < classes; k++) top = Math.max(top, logits[i * classes + k]);
    let sum = Math.exp(-top);
    for (let k = 0; k < classes; k++) sum += maps[k][i] = Math.exp(logits[i * classes + k] - top);
    for (let k = 0; k < classes; k++) maps[k][i] /= sum;
  }
}

/**
 * @param {ArrayLike<number>} output
 * @param {TensorInfo} tensor
 */
function dequantized(output, tensor) {
  if (!tensor.scale) throw new Error(`its output is ${tensor.dtype} without a scale`);
  return Float32Array.from(output, (level) => (level - tensor.zeroPoint) * tensor.scale);
}
