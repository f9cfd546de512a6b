/**
 * Pictures to the network's size and probabilities back, in the numbers of tfseg/data/images.py: OpenCV's INTER_AREA and
 * INTER_LINEAR written out, since what a browser's canvas does when it scales is nobody's promise.
 */

const LUMA = [0.299, 0.587, 0.114]; // ITU-R BT.601, as Python's side reads colour files for a network of one channel

/**
 * How one axis is resized: output i is the sum of weight[j] * input[source[j]] over start[i] <= j < start[i + 1].
 * @typedef {{start: Int32Array, source: Int32Array, weight: Float32Array}} Axis
 */

/**
 * Shrink or enlarge a picture to what the network sees, as `network_input` does; the aspect ratio is not kept.
 * @param {Uint8ClampedArray} rgba (height, width, 4) in 0..255; transparency is dropped.
 * @param {number} width of the picture, in pixels.
 * @param {number} height of the picture, in pixels.
 * @param {number} size height and width of the network's input, in pixels.
 * @param {number} channels 1 for luma, 3 for RGB.
 * @returns {Uint8Array<ArrayBuffer>} (size, size, channels) in 0..255.
 */
export function networkInput(rgba, width, height, size, channels) {
  const across = axis(width, size, size < width ? 'area' : 'linear');
  const down = axis(height, size, size < height ? 'area' : 'linear');
  const rows = new Map(); // of the picture, resized across; two neighbours share one when enlarging
  const row = size * channels;
  const sum = new Float64Array(row);
  const result = new Uint8Array(size * row);
  for (let y = 0; y < size; y++) {
    sum.fill(0);
    for (let j = down.start[y]; j < down.start[y + 1]; j++) {
      const source = down.source[j];
      let resized = rows.get(source);
      if (!resized) {
        rows.set(source, (resized = resizeRow(rgba.subarray(source * width * 4, (source + 1) * width * 4), across, channels)));
        rows.delete(source - 2);
      }
      for (let i = 0; i < row; i++) sum[i] += down.weight[j] * resized[i];
    }
    for (let i = 0; i < row; i++) result[y * row + i] = roundHalfToEven(sum[i]);
  }
  return result;
}

/**
 * Resize a map bilinearly, as `resize_probability` does, but only where it can reach the threshold.
 *
 * A pixel is a mean of four neighbours, so where none of them reaches the threshold it does not either; those pixels are
 * left at 0 and not computed, which is most of a picture.
 * @param {Float32Array} map (height, width), one class.
 * @param {number} width of the map.
 * @param {number} height of the map.
 * @param {number} outWidth of the picture.
 * @param {number} outHeight of the picture.
 * @param {number} threshold from which a pixel counts.
 * @returns {Uint8Array} (outHeight, outWidth), 1 where the resized map reaches the threshold.
 */
export function enlargedMask(map, width, height, outWidth, outHeight, threshold) {
  const mask = new Uint8Array(outWidth * outHeight);
  const across = axis(width, outWidth, 'linear');
  const down = axis(height, outHeight, 'linear');
  const [left, right, top, bottom] = reach(map, width, height, threshold);
  if (left > right) return mask;
  const mixed = new Float32Array(width); // one row between two of the map
  const [from, to] = [first(across, left), last(across, right)];
  for (let y = first(down, top), end = last(down, bottom); y <= end; y++) {
    const [a, b, part] = pair(down, y);
    for (let x = 0; x < width; x++) mixed[x] = map[a * width + x] * (1 - part) + map[b * width + x] * part;
    for (let x = from; x <= to; x++) {
      const [c, d, share] = pair(across, x);
      mask[y * outWidth + x] = Math.fround(mixed[c] * (1 - share) + mixed[d] * share) >= threshold ? 1 : 0;
    }
  }
  return mask;
}

/**
 * Resize the maps of exclusive classes bilinearly, and give each pixel to the most probable of them and the background.
 *
 * The background has what the classes leave of 1, and wins where it equals them; of classes the first. Only pixels are
 * computed that a class can win: where its share in some neighbour is that of all being equal.
 * @param {Float32Array[]} maps (height, width) of each class.
 * @param {number} width of the maps.
 * @param {number} height of the maps.
 * @param {number} outWidth of the picture.
 * @param {number} outHeight of the picture.
 * @returns {Uint8Array[]} (outHeight, outWidth) of each class, 0 or 1.
 */
export function enlargedClasses(maps, width, height, outWidth, outHeight) {
  const masks = maps.map(() => new Uint8Array(outWidth * outHeight));
  const across = axis(width, outWidth, 'linear');
  const down = axis(height, outHeight, 'linear');
  const least = 0.999 / (maps.length + 1); // a little less, since shares are rounded
  const boxes = maps.map((map) => reach(map, width, height, least)).filter(([left, right]) => left <= right);
  if (!boxes.length) return masks;
  const [from, to] = [first(across, Math.min(...boxes.map((box) => box[0]))), last(across, Math.max(...boxes.map((box) => box[1])))];
  const [begin, end] = [first(down, Math.min(...boxes.map((box) => box[2]))), last(down, Math.max(...boxes.map((box) => box[3])))];
  const mixed = maps.map(() => new Float32Array(width));
  for (let y = begin; y <= end; y++) {
    const [a, b, part] = pair(down, y);
    maps.forEach((map, k) => {
      for (let x = 0; x < width; x++) mixed[k][x] = map[a * width + x] * (1 - part) + map[b * width + x] * part;
    });
    for (let x = from; x <= to; x++) {
      const winner = mostProbable(mixed, pair(across, x));
      if (winner >= 0) masks[winner][y * outWidth + x] = 1;
    }
  }
  return masks;
}

/**
 * @param {Float32Array[]} rows of each class.
 * @param {number[]} place between two pixels of a row, see `pair`.
 * @returns {number} the class, or -1 for the background.
 */
function mostProbable(rows, [left, right, share]) {
  let [winner, most, sum] = [-1, 0, 0];
  for (let k = 0; k < rows.length; k++) {
    const value = Math.fround(rows[k][left] * (1 - share) + rows[k][right] * share);
    sum += value;
    if (value > most) [winner, most] = [k, value];
  }
  return most > Math.fround(1 - sum) ? winner : -1;
}

/**
 * @param {number} from length of the input.
 * @param {number} to length of the output.
 * @param {'area' | 'linear'} method of OpenCV, which averages areas where an axis shrinks alone.
 * @returns {Axis}
 */
export function axis(from, to, method) {
  const scale = from / to;
  /** @type {number[]} */ const source = [];
  /** @type {number[]} */ const weight = [];
  const start = new Int32Array(to + 1);
  for (let i = 0; i < to; i++) {
    (method === 'area' ? addArea : addPair)(i, scale, from, source, weight);
    start[i + 1] = source.length;
  }
  return { start, source: Int32Array.from(source), weight: Float32Array.from(weight) };
}

/**
 * @param {number} i
 * @param {number} scale
 * @param {number} length
 * @param {number[]} source
 * @param {number[]} weight
 */
function addArea(i, scale, length, source, weight) {
  const begin = i * scale;
  const end = Math.min(begin + scale, length);
  for (let j = Math.floor(begin); j < Math.ceil(end - 1e-9); j++) {
    source.push(j);
    weight.push((Math.min(j + 1, end) - Math.max(j, begin)) / (end - begin));
  }
}

/**
 * @param {number} i
 * @param {number} scale
 * @param {number} length
 * @param {number[]} source
 * @param {number[]} weight
 */
function addPair(i, scale, length, source, weight) {
  const position = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), length - 1);
  const left = Math.min(Math.floor(position), Math.max(length - 2, 0));
  source.push(left, Math.min(left + 1, length - 1));
  weight.push(1 - (position - left), position - left);
}

/**
 * @param {Uint8ClampedArray} rgba one row of the picture.
 * @param {Axis} across
 * @param {number} channels
 * @returns {Float32Array}
 */
function resizeRow(rgba, across, channels) {
  const { start, source, weight } = across;
  const count = start.length - 1;
  const row = new Float32Array(count * channels);
  for (let i = 0; i < count; i++) {
    let [red, green, blue] = [0, 0, 0];
    for (let j = start[i]; j < start[i + 1]; j++) {
      const at = 4 * source[j];
      red += weight[j] * rgba[at];
      green += weight[j] * rgba[at + 1];
      blue += weight[j] * rgba[at + 2];
    }
    if (channels === 1) row[i] = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue;
    else row.set([red, green, blue], 3 * i);
  }
  return row;
}

/** @param {number} x in 0..255 */
function roundHalfToEven(x) {
  const low = Math.floor(x);
  const over = x - low;
  return over > 0.5 || (over === 0.5 && low % 2 === 1) ? low + 1 : low;
}

/**
 * Return the box of the map's pixels that reach the threshold: left, right, top, bottom; left > right where none does.
 * @param {Float32Array} map
 * @param {number} width
 * @param {number} height
 * @param {number} threshold
 */
function reach(map, width, height, threshold) {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (map[at] < threshold) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  return [left, right, top, bottom];
}

/**
 * @param {Axis} linear
 * @param {number} i
 */
function pair(linear, i) {
  return [linear.source[2 * i], linear.source[2 * i + 1], linear.weight[2 * i + 1]];
}

/**
 * Return the first output that reads input `at`.
 * @param {Axis} linear
 * @param {number} at
 */
function first(linear, at) {
  const end = linear.start.length - 1;
  let i = 0;
  while (i < end && linear.source[2 * i + 1] < at) i++;
  return i;
}

/**
 * Return the last output that reads input `at`.
 * @param {Axis} linear
 * @param {number} at
 */
function last(linear, at) {
  let i = linear.start.length - 2;
  while (i >= 0 && linear.source[2 * i] > at) i--;
  return i;
}
