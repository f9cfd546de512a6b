/** What the last frames took: median and 90th percentile of a sliding window, and frames a second. */

/** The last `length` numbers that were added. */
export class Window {
  /** @param {number} length */
  constructor(length) {
    this.length = length;
    /** @type {number[]} */ this.values = [];
    this.next = 0;
  }

  /** @param {number} value */
  add(value) {
    this.values[this.next] = value;
    this.next = (this.next + 1) % this.length;
  }

  clear() {
    this.values = [];
    this.next = 0;
  }

  /**
   * Return a quantile by linear interpolation, as NumPy's default; NaN while there is nothing.
   * @param {number} share 0.5 for the median.
   */
  quantile(share) {
    const sorted = this.values.toSorted((a, b) => a - b);
    const position = share * (sorted.length - 1);
    const low = sorted[Math.floor(position)];
    return low + (position % 1) * (sorted[Math.ceil(position)] - low);
  }
}

/** How many events a second there were over the last two seconds, or between the last two where they are rarer. */
export class Rate {
  static SPAN_MS = 2000;

  constructor() {
    /** @type {number[]} */ this.times = [];
  }

  /**
   * Count an event.
   * @param {number} now in ms.
   * @param {number} [count] of events since the last call.
   */
  add(now, count = 1) {
    for (let i = 0; i < count; i++) this.times.push(now);
    this.times = this.times.filter((time, i, all) => time > now - Rate.SPAN_MS || i >= all.length - 2);
  }

  clear() {
    this.times = [];
  }

  /** NaN until two events are known. */
  get perSecond() {
    const span = (this.times.at(-1) ?? NaN) - this.times[0];
    return span > 0 ? ((this.times.length - 1) * 1000) / span : NaN;
  }
}

/**
 * Write milliseconds so that two digits count.
 * @param {number} ms
 */
export function milliseconds(ms) {
  if (Number.isNaN(ms)) return '–';
  return ms < 9.95 ? ms.toFixed(1) : ms.toFixed(0);
}
