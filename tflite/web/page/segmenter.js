/** One .tflite file on one accelerator: compiled once, run frame by frame, every tensor deleted by hand. */

import { masks, probabilities } from './mask.js';
import { read, verify } from './model.js';
import { networkInput } from './resize.js';

/** @typedef {import('@litertjs/core').Tensor} Tensor */
/** @typedef {import('@litertjs/core').CompiledModel} CompiledModel */
/** @typedef {ReturnType<typeof read>} File */
/** @typedef {'webgpu' | 'wasm'} Accelerator */

/**
 * What one frame gave.
 * @typedef {{masks: Uint8Array[], preMs: number, inferenceMs: number, maskMs: number}} Result
 */

const CORE = '/litert/core.js'; // what tfseg/demo/page.py serves of @litertjs/core
const WASM = '/litert/wasm/';
const THREADS = 4; // a phone's fast cores; more wait for each other

/** The accelerator does not run this file, or not rightly; another one may. The message says why. */
export class UnfitError extends Error {}

/**
 * Open a file on an accelerator. WebGPU must first give what WASM gives: LiteRT calls files fully accelerated that it then
 * fails to run, and hands out zeros for them (seen with 2.5.3 and an int8 TRANSPOSE_CONV).
 * @param {string} url of the file.
 * @param {Accelerator} accelerator
 * @throws {UnfitError}
 * @throws {Error} the message goes after the file's name.
 */
export async function open(url, accelerator) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the server has it no longer (${response.status})`);
  const content = new Uint8Array(await response.arrayBuffer());
  const file = read(content);
  await verify(content);
  refuseUnknown(file);
  /** @type {typeof import('@litertjs/core')} */ const litert = await import(CORE);
  const threads = (await litert.supportsFeature('threads')) ? Math.min(THREADS, navigator.hardwareConcurrency) : 1;
  placeGlue();
  const runtime = await litert.loadLiteRt(WASM, { threads: threads > 1 });
  if (accelerator === 'webgpu' && !runtime.getWebGpuDevice()) throw new UnfitError('this browser offers no WebGPU');
  const options = { accelerator: /** @type {const} */ ('wasm'), cpuOptions: { numThreads: threads } };
  const onWasm = new Segmenter(litert, await runtime.loadAndCompile(content, options), file, 'wasm', threads);
  if (accelerator === 'wasm') return onWasm;
  const expected = await onWasm.probe();
  onWasm.delete();
  try {
    const model = await whole(() => runtime.loadAndCompile(content, { accelerator: 'webgpu' }));
    const onGpu = new Segmenter(litert, model, file, 'webgpu', 1);
    if (agree(expected, await onGpu.probe())) return onGpu;
  } catch (error) {
    if (error instanceof UnfitError) throw error;
    throw new UnfitError(`WebGPU fails on this file (${firstLine(error)})`, { cause: error });
  }
  throw new UnfitError('WebGPU gives other masks than WASM');
}

/**
 * Compile for WebGPU and refuse a file that it takes in part: LiteRT tells so only on the console.
 * @param {() => Promise<CompiledModel>} compile
 * @throws {UnfitError}
 */
async function whole(compile) {
  const told = console.error;
  let counts = /** @type {RegExpMatchArray | null} */ (null);
  console.error = (...words) => {
    counts ??= words.join(' ').match(/(\d+) operations will run on the GPU, and the remaining (\d+) operations/);
    told(...words);
  };
  try {
    const model = await compile();
    if (model.isFullyAccelerated && !counts) return model;
    model.delete();
    const share = counts ? `${counts[1]} of its ${Number(counts[1]) + Number(counts[2])} operations` : 'not all of its operations';
    throw new UnfitError(`WebGPU takes ${share}`);
  } finally {
    console.error = told;
  }
}

/** A compiled file. */
export class Segmenter {
  #litert;
  #model;

  /**
   * @param {typeof import('@litertjs/core')} litert
   * @param {CompiledModel} model
   * @param {File} file
   * @param {Accelerator} accelerator that runs it.
   * @param {number} threads of the CPU.
   */
  constructor(litert, model, file, accelerator, threads) {
    this.#litert = litert;
    this.#model = model;
    this.file = file;
    this.accelerator = accelerator;
    this.threads = threads;
  }

  /**
   * Segment one picture.
   * @param {ImageData} picture
   * @param {number} [startedMs] when work on this picture began, in the worker's time.
   * @returns {Promise<Result>}
   */
  async run(picture, startedMs = performance.now()) {
    const { about, output } = this.file;
    const { width, height } = picture;
    const bytes = networkInput(picture.data, width, height, about.image_size, about.channels);
    const preparedMs = performance.now();
    const values = await this.#infer(this.file.input.dtype === 'uint8' ? bytes : Float32Array.from(bytes, (level) => level / 255));
    const inferredMs = performance.now();
    const found = masks(values, output, about, width, height);
    return {
      masks: found,
      preMs: preparedMs - startedMs,
      inferenceMs: inferredMs - preparedMs,
      maskMs: performance.now() - inferredMs,
    };
  }

  /**
   * Segment a pattern that is always the same.
   * @returns {Promise<Float32Array[]>} the probabilities of each class.
   */
  async probe() {
    const [, size, , channels] = this.file.input.shape;
    const bytes = Uint8Array.from({ length: size * size * channels }, (_, i) => (i * 2654435761) >>> 24); // Knuth's hash
    const values = this.file.input.dtype === 'uint8' ? bytes : Float32Array.from(bytes, (level) => level / 255);
    return probabilities(await this.#infer(values), this.file.output, this.file.about);
  }

  /** Give its memory back. */
  delete() {
    this.#model.delete();
  }

  /**
   * @param {Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>} values
   * @returns {Promise<Float32Array | Int32Array | Uint8Array>} of the file's output; the time ends when they are here.
   */
  async #infer(values) {
    const input = this.#litert.Tensor.fromTypedArray(values, this.file.input.shape);
    /** @type {Tensor[]} */ let outputs = [];
    try {
      outputs = await this.#model.run([input]);
      return /** @type {Float32Array | Int32Array | Uint8Array} */ (await outputs[0].data());
    } finally {
      input.delete();
      for (const output of outputs) output.delete();
    }
  }
}

/**
 * Whether two accelerators give the same: half precision moves a probability by far less than a tenth, and a run that
 * failed leaves zeros.
 * @param {Float32Array[]} expected
 * @param {Float32Array[]} found
 */
export function agree(expected, found) {
  return expected.every((map, k) => {
    const apart = map.filter((value, i) => !(Math.abs(value - found[k][i]) <= 0.1)).length; // NaN is apart, too
    return apart <= map.length / 100 && (found[k].some(Boolean) || !map.some(Boolean));
  });
}

/** Tell LiteRT's WebAssembly where its files lie: in a worker it takes the worker's own address for its own. */
function placeGlue() {
  const locateFile = (/** @type {string} */ name) => WASM + name;
  Object.assign(globalThis, { Module: { locateFile, mainScriptUrlOrBlob: `${WASM}litert_wasm_threaded_internal.js` } });
}

/** @param {File} file */
function refuseUnknown({ about, input, output }) {
  const [batch, rows, columns, channels] = input.shape;
  if (batch !== 1 || rows !== about.image_size || columns !== about.image_size || channels !== about.channels) {
    throw new Error(`takes ${input.shape.join('x')}, which is not what its metadata say`);
  }
  for (const { dtype } of [input, output]) {
    if (!['float32', 'uint8'].includes(dtype)) throw new Error(`its ends are ${dtype}, which LiteRT for the web cannot pass on`);
  }
}

/** @param {unknown} error */
export function firstLine(error) {
  return String(error instanceof Error ? error.message : error).trim().split('\n')[0].slice(0, 200);
}
