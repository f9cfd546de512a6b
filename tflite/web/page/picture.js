/** The picture on the page: a frame with the masks that belong to it, tinted and outlined; and what is saved of it. */

/** RGB of the classes, as tfseg/overlays.py draws predictions; classes beyond the last begin again. */
export const COLOURS = [
  [255, 145, 20],
  [255, 105, 180],
  [255, 225, 70],
  [225, 70, 40],
];

/**
 * How masks are drawn: at all, with outlines, and how opaque their tint is in [0, 1].
 * @typedef {{visible: boolean, contour: boolean, opacity: number}} Style
 */

/** A canvas that shows the last frame and can draw it again in another style. */
export class Picture {
  #context;
  #frame = new OffscreenCanvas(1, 1);
  #overlay = new OffscreenCanvas(1, 1);
  /** @type {ImageData | null} */ #tint = null;
  /** @type {Uint8Array[]} */ #masks = [];

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.#context = context(canvas);
  }

  /** Whether there is a frame. */
  get filled() {
    return this.#masks.length > 0;
  }

  /**
   * Show a frame.
   * @param {ImageBitmap} frame is closed.
   * @param {Uint8Array[]} masks one (height, width) a class, 0 or 1.
   * @param {Style} style
   */
  show(frame, masks, style) {
    const { width, height } = frame;
    for (const canvas of [this.#frame, this.#overlay, this.canvas]) {
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    }
    context(this.#frame).drawImage(frame, 0, 0);
    frame.close();
    this.#masks = masks;
    this.draw(style);
  }

  /**
   * Draw the last frame again.
   * @param {Style} style
   */
  draw(style) {
    if (!this.filled) return;
    this.#context.drawImage(this.#frame, 0, 0);
    if (!style.visible) return;
    const { width, height } = this.#frame;
    if (this.#tint?.width !== width || this.#tint.height !== height) this.#tint = new ImageData(width, height);
    else this.#tint.data.fill(0);
    this.#masks.forEach((mask, k) => paint(/** @type {ImageData} */ (this.#tint), mask, COLOURS[k % COLOURS.length], style));
    context(this.#overlay).putImageData(this.#tint, 0, 0);
    this.#context.drawImage(this.#overlay, 0, 0);
  }

  /**
   * Return PNG files by the end of their name: the picture as it is shown with a line of text below, the plain frame, and
   * the mask of each class, 0 or 255.
   * @param {string[]} classes
   * @param {string} caption
   * @returns {Promise<Map<string, Blob>>}
   */
  async files(classes, caption) {
    const { width, height } = this.#frame;
    const strip = Math.max(18, Math.round(height / 20));
    const framed = new OffscreenCanvas(width, height + strip);
    const drawing = context(framed);
    drawing.drawImage(this.canvas, 0, 0);
    drawing.fillRect(0, height, width, strip);
    drawing.fillStyle = '#fff';
    drawing.font = `${Math.round(strip * 0.6)}px sans-serif`;
    drawing.textBaseline = 'middle';
    drawing.fillText(caption, strip * 0.3, height + strip / 2, width - strip * 0.6);
    const files = new Map([['overlay', await framed.convertToBlob()], ['frame', await this.#frame.convertToBlob()]]);
    for (const [k, name] of classes.entries()) files.set(name, await maskFile(this.#masks[k], width, height));
    return files;
  }
}

/**
 * Write one class into a tint: its pixels, and the outline on their inner side.
 * @param {ImageData} tint changed in place.
 * @param {Uint8Array} mask (height, width), 0 or 1.
 * @param {number[]} colour RGB.
 * @param {Style} style
 */
export function paint(tint, mask, colour, style) {
  const { width, height, data } = tint;
  const pixels = new Uint32Array(data.buffer);
  const [red, green, blue] = colour;
  const rgb = red | (green << 8) | (blue << 16); // little-endian, as every phone and every computer is
  const line = (rgb | (255 << 24)) >>> 0;
  const fill = (rgb | (Math.round(255 * style.opacity) << 24)) >>> 0;
  const reach = Math.max(1, Math.round(Math.min(width, height) / 140)); // of the outline, in pixels of the picture
  for (let at = mask.indexOf(1); at >= 0; at = mask.indexOf(1, at + 1)) {
    const x = at % width;
    const edge = style.contour && (
      x < reach || x >= width - reach || at < reach * width || at >= mask.length - reach * width ||
      !(mask[at - reach] && mask[at + reach] && mask[at - reach * width] && mask[at + reach * width])
    );
    if (edge) pixels[at] = line;
    else if (fill >>> 24) pixels[at] = fill;
  }
}

/**
 * @param {Uint8Array} mask
 * @param {number} width
 * @param {number} height
 */
function maskFile(mask, width, height) {
  const image = new ImageData(width, height);
  new Uint32Array(image.data.buffer).forEach((_, i, pixels) => (pixels[i] = mask[i] ? 0xffffffff : 0xff000000));
  const canvas = new OffscreenCanvas(width, height);
  context(canvas).putImageData(image, 0, 0);
  return canvas.convertToBlob();
}

/**
 * @template {HTMLCanvasElement | OffscreenCanvas} C
 * @param {C} canvas
 * @returns {CanvasRenderingContext2D}
 */
function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d', { alpha: true }));
}
