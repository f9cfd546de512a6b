/**
 * What a .tflite file says of itself: its tensors, and tfseg's metadata (tfseg/lite/metadata.py), read from the
 * flatbuffer by hand: three tables of https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
 */

const SCHEMA = 1;
const BUFFER = 'tfseg.json';
const DTYPES = ['float32', 'float16', 'int32', 'uint8', 'int64', 'string', 'bool', 'int16', 'complex64', 'int8'];
const MODEL = { subgraphs: 2, buffers: 4, metadata: 6 }; // numbers of the tables' fields
const GRAPH = { tensors: 0, inputs: 1, outputs: 2 };
const TENSOR = { shape: 0, type: 1, quantization: 4 };

/**
 * How a file of tfseg is to be used; tfseg/lite/metadata.py documents every field.
 * @typedef {{model: string, image_size: number, channels: number, classes: string[], input: 'uint8' | 'float32',
 *     head: 'probability' | 'mask' | 'logits', activation: 'sigmoid' | 'softmax', threshold: number,
 *     largest_component: boolean, smallest_area?: number, precision: string, training: string, dataset: string, phantom: boolean}} About
 */

/**
 * One tensor: its shape, its numbers, and where they are quantized value = (level - zeroPoint) * scale; scale 0: not.
 * @typedef {{shape: number[], dtype: string, scale: number, zeroPoint: number}} TensorInfo
 */

/**
 * @param {Uint8Array} content of the file.
 * @returns {{about: About, input: TensorInfo, output: TensorInfo}}
 * @throws {Error} it is no file of tfseg, of another version, or damaged; the message goes after the file's name.
 */
export function read(content) {
  try {
    if (new TextDecoder('latin1').decode(content.subarray(4, 8)) !== 'TFL3') throw new Error('not a .tflite file');
    const file = new Flatbuffer(content);
    const model = file.root();
    const about = metadata(file, model);
    const graph = file.tables(model, MODEL.subgraphs)[0];
    return { about, input: tensor(file, graph, GRAPH.inputs), output: tensor(file, graph, GRAPH.outputs) };
  } catch (error) {
    if (error instanceof RangeError || error instanceof SyntaxError || error instanceof TypeError) {
      throw new Error('a damaged .tflite file; convert or copy it again', { cause: error });
    }
    throw error;
  }
}

/**
 * Refuse a file that is not byte for byte what tfseg wrote.
 * @param {Uint8Array<ArrayBuffer>} content of the file.
 * @throws {Error} its digest is another one.
 */
export async function verify(content) {
  const { sha256 } = entry(new Flatbuffer(content));
  const text = new TextDecoder('latin1').decode(content); // one character a byte, so positions stay
  const at = text.indexOf(`"sha256": "${sha256}"`) + '"sha256": "'.length;
  const plain = content.slice();
  plain.fill('0'.charCodeAt(0), at, at + 64);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', plain));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if (found !== sha256) throw new Error('a damaged .tflite file; convert or copy it again');
}

/**
 * @param {Flatbuffer} file
 * @param {number} model
 * @returns {About}
 */
function metadata(file, model) {
  const about = entry(file, model);
  if (!about) throw new Error('not a file of tfseg; make one with `tfseg convert`');
  if (about.schema !== SCHEMA) throw new Error(`its metadata are of schema ${about.schema}, and this page reads ${SCHEMA}`);
  return about;
}

/**
 * @param {Flatbuffer} file
 * @param {number} model
 * @returns {any} tfseg's entry of the metadata, or null.
 */
function entry(file, model = file.root()) {
  for (const table of file.tables(model, MODEL.metadata)) {
    if (new TextDecoder().decode(file.bytes(table, 0)) !== BUFFER) continue;
    const buffer = file.tables(model, MODEL.buffers)[file.uint32(table, 1)];
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file.bytes(buffer, 0)));
  }
  return null;
}

/**
 * @param {Flatbuffer} file
 * @param {number} graph
 * @param {number} field the inputs or the outputs; one tensor each, as all files of tfseg have.
 * @returns {TensorInfo}
 */
function tensor(file, graph, field) {
  const numbers = file.int32s(graph, field);
  if (numbers.length !== 1) throw new Error('needs one input and one output');
  const table = file.tables(graph, GRAPH.tensors)[numbers[0]];
  const quantization = file.child(table, TENSOR.quantization);
  return {
    shape: file.int32s(table, TENSOR.shape),
    dtype: DTYPES[file.uint8(table, TENSOR.type)] ?? 'unknown',
    scale: (quantization && file.float32s(quantization, 2)[0]) || 0,
    zeroPoint: (quantization && file.int64s(quantization, 3)[0]) || 0,
  };
}

/** A reader of flatbuffers: tables are positions, fields are numbers; what lies outside the file is a RangeError. */
class Flatbuffer {
  /** @param {Uint8Array} content */
  constructor(content) {
    this.content = content;
    this.view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  }

  root() {
    return this.view.getUint32(0, true);
  }

  /**
   * @param {number} table
   * @param {number} field
   * @returns {number} where the field lies, or 0 where it has its default.
   */
  field(table, field) {
    const vtable = table - this.view.getInt32(table, true);
    const slot = 4 + 2 * field;
    const offset = slot < this.view.getUint16(vtable, true) ? this.view.getUint16(vtable + slot, true) : 0;
    return offset && table + offset;
  }

  /** @param {number} table @param {number} field */
  uint8(table, field) {
    const at = this.field(table, field);
    return at && this.view.getUint8(at);
  }

  /** @param {number} table @param {number} field */
  uint32(table, field) {
    const at = this.field(table, field);
    return at && this.view.getUint32(at, true);
  }

  /** @param {number} table @param {number} field */
  child(table, field) {
    const at = this.field(table, field);
    return at && at + this.view.getUint32(at, true);
  }

  /** @param {number} table @param {number} field */
  tables(table, field) {
    return this.#vector(table, field, 4, (at) => at + this.view.getUint32(at, true));
  }

  /** @param {number} table @param {number} field */
  int32s(table, field) {
    return this.#vector(table, field, 4, (at) => this.view.getInt32(at, true));
  }

  /** @param {number} table @param {number} field */
  int64s(table, field) {
    return this.#vector(table, field, 8, (at) => Number(this.view.getBigInt64(at, true)));
  }

  /** @param {number} table @param {number} field */
  float32s(table, field) {
    return this.#vector(table, field, 4, (at) => this.view.getFloat32(at, true));
  }

  /** @param {number} table @param {number} field */
  bytes(table, field) {
    const at = this.child(table, field);
    if (!at) return new Uint8Array();
    const count = this.view.getUint32(at, true);
    if (at + 4 + count > this.content.length) throw new RangeError('outside the file');
    return this.content.subarray(at + 4, at + 4 + count);
  }

  /**
   * @param {number} table
   * @param {number} field
   * @param {number} size of an element, in bytes.
   * @param {(at: number) => number} element
   */
  #vector(table, field, size, element) {
    const at = this.child(table, field);
    const count = at ? this.view.getUint32(at, true) : 0;
    if (at + 4 + size * count > this.content.length) throw new RangeError('outside the file');
    return Array.from({ length: count }, (_, i) => element(at + 4 + size * i));
  }
}
