/** The page's end of worker.js: one file on one accelerator, one frame at a time. */

/** @typedef {import('./model.js').About} About */
/** @typedef {import('./segmenter.js').Accelerator} Accelerator */

/**
 * What became of a file: how it is to be used, what runs it, on how many threads of the CPU.
 * @typedef {{about: About, accelerator: Accelerator, threads: number}} Opened
 */

/** The accelerator does not run this file; another one may. The message says why. */
export class UnfitError extends Error {}

/**
 * A segmented frame; the time of the masks is that of thresholds and components.
 * @typedef {{picture: ImageBitmap, masks: Uint8Array[], preMs: number, inferenceMs: number, maskMs: number}} Answer
 */

/** A worker of its own for each file: when it ends, all that LiteRT holds ends with it. */
export class Engine {
  #worker = new Worker('/worker.js');
  /** @type {{resolve: (value: any) => void, reject: (error: Error) => void} | null} */ #waiting = null;

  constructor() {
    this.#worker.onmessage = ({ data }) => {
      if (data.failed === undefined) this.#settle()?.resolve(data);
      else this.#settle()?.reject(data.unfit ? new UnfitError(data.failed) : new Error(data.failed));
    };
    this.#worker.onerror = (event) => this.#settle()?.reject(new Error(event.message || 'the worker stopped'));
  }

  /**
   * @param {string} url
   * @param {Accelerator} accelerator
   * @returns {Promise<Opened>}
   * @throws {UnfitError}
   * @throws {Error} the message goes after the file's name.
   */
  async open(url, accelerator) {
    return (await this.#ask({ open: url, accelerator }, [])).opened;
  }

  /**
   * @param {ImageBitmap} picture goes to the worker and comes back in the answer.
   * @returns {Promise<Answer>}
   */
  segment(picture) {
    return this.#ask({ picture }, [picture]);
  }

  close() {
    this.#worker.terminate();
    this.#settle()?.reject(new DOMException('another file was chosen', 'AbortError'));
  }

  /**
   * @param {object} message
   * @param {Transferable[]} transfer
   * @returns {Promise<any>}
   */
  #ask(message, transfer) {
    if (this.#waiting) throw new Error('one frame at a time');
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#worker.postMessage(message, transfer);
    });
  }

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }
}
