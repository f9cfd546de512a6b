/**
 * The worker that segments: no module, since LiteRT loads its WebAssembly with importScripts, which modules refuse.
 *
 * It is told {open: url, accelerator} once and then {picture: ImageBitmap} frame by frame, and answers {opened} or
 * {picture, masks, ...} or {failed: what, unfit: whether another accelerator may do}. It is sent the next frame when it has answered the last one.
 */

/** @type {Promise<import('./segmenter.js').Segmenter>} */ let opening;
/** @type {OffscreenCanvas | undefined} */ let canvas;

self.onmessage = async ({ data }) => {
  const { firstLine, open, UnfitError } = await import('./segmenter.js');
  try {
    if (data.open) {
      opening = open(data.open, data.accelerator);
      const { file, accelerator, threads } = await opening;
      self.postMessage({ opened: { about: file.about, accelerator, threads } });
      return;
    }
    const startedMs = performance.now();
    const { picture } = data;
    const { masks, ...times } = await (await opening).run(pixels(picture), startedMs);
    self.postMessage({ picture, masks, ...times }, { transfer: [picture, ...masks.map((mask) => mask.buffer)] });
  } catch (error) {
    self.postMessage({ failed: firstLine(error), unfit: error instanceof UnfitError });
  }
};

/**
 * @param {ImageBitmap} picture
 * @returns {ImageData}
 */
function pixels(picture) {
  const { width, height } = picture;
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d', { willReadFrequently: true }));
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height);
}
