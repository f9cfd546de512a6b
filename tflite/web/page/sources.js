/** Where frames come from: a file, a camera, a captured screen; all end in one <video>, whose frames are taken one by one. */

/** What went wrong, in words for the user. */
export class SourceError extends Error {}

/** The one video element behind all sources, and what it plays at the moment. */
export class Source {
  /** @type {'file' | 'stream' | null} */ kind = null;
  /** Shortest time between two frames seen so far, in seconds; 0 while unknown. */
  frameSeconds = 0;
  #url = '';
  #lastMediaTime = NaN;

  /**
   * @param {HTMLVideoElement} video
   * @param {(message: string) => void} ended is told when a camera or a screen stops by itself.
   */
  constructor(video, ended) {
    this.video = video;
    this.ended = ended;
  }

  get playing() {
    return this.kind !== null && !this.video.paused;
  }

  /**
   * Play a video file in a loop.
   * @param {Blob} file
   * @param {string} name for messages.
   */
  async openFile(file, name) {
    this.close();
    this.#url = URL.createObjectURL(file);
    this.video.src = this.#url;
    this.video.loop = true;
    await this.#start('file', () => `${name}: this browser cannot play it; MP4 (H.264) and WebM play in most`);
  }

  /**
   * Play a camera.
   * @param {string} [device] its id; else the one at the phone's back.
   */
  async openCamera(device) {
    const wanted = device ? { deviceId: { exact: device } } : { facingMode: 'environment' };
    await this.#openStream('camera', (media) =>
      media.getUserMedia({ audio: false, video: { ...wanted, width: { ideal: 1280 }, height: { ideal: 720 } } }));
  }

  /** Play a screen, a window or a tab that the user picks. */
  async openScreen() {
    await this.#openStream('screen', (media) => media.getDisplayMedia({ audio: false, video: { frameRate: 30 } }));
  }

  /** Let go of files, cameras and screens. */
  close() {
    this.kind = null;
    this.frameSeconds = 0;
    this.#lastMediaTime = NaN;
    if (this.video.srcObject instanceof MediaStream) this.video.srcObject.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.video.removeAttribute('src');
    this.video.load();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = '';
  }

  /**
   * Go to another frame of a file; a stream only goes on to what is seen now.
   * @param {number} count of frames; negative is back.
   */
  async step(count) {
    this.video.pause();
    if (this.kind === 'stream') {
      await this.video.play();
      await nextFrame(this.video);
      this.video.pause();
      return;
    }
    const frame = this.frameSeconds || 1 / 30;
    const length = this.video.duration;
    const middle = (Math.floor(this.video.currentTime / frame + 1e-3) + count + 0.5) * frame;
    await this.seek(((middle % length) + length) % length);
  }

  /**
   * Go to a time of a file and wait until its frame is there.
   * @param {number} seconds
   */
  async seek(seconds) {
    const arrived = new Promise((resolve) => this.video.addEventListener('seeked', resolve, { once: true }));
    this.video.currentTime = seconds;
    await arrived;
  }

  /**
   * Learn the frame rate from the time of a frame that is shown.
   * @param {number} mediaTime in seconds.
   */
  noteFrame(mediaTime) {
    const passed = mediaTime - this.#lastMediaTime;
    if (passed > 0.004 && (!this.frameSeconds || passed < this.frameSeconds)) this.frameSeconds = passed;
    this.#lastMediaTime = mediaTime;
  }

  /**
   * @param {'camera' | 'screen'} what
   * @param {(media: MediaDevices) => Promise<MediaStream>} ask
   */
  async #openStream(what, ask) {
    this.close();
    if (!navigator.mediaDevices) {
      throw new SourceError(`The ${what} opens only on localhost or over https: start \`tfseg demo --android\` for a phone`);
    }
    try {
      const stream = await ask(navigator.mediaDevices);
      stream.getVideoTracks()[0].addEventListener('ended', () => {
        if (this.video.srcObject === stream) this.ended(`The ${what} has stopped`);
      });
      this.video.srcObject = stream;
    } catch (error) {
      throw new SourceError(refusal(what, error), { cause: error });
    }
    await this.#start('stream', () => `The ${what} shows no picture`);
  }

  /**
   * @param {'file' | 'stream'} kind
   * @param {() => string} complaint
   */
  async #start(kind, complaint) {
    try {
      await this.video.play();
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error; // another source was chosen meanwhile
      throw new SourceError(complaint(), { cause: error });
    }
    if (!this.video.videoWidth) throw new SourceError(complaint());
    this.kind = kind;
  }
}

/**
 * @param {'camera' | 'screen'} what
 * @param {unknown} error
 */
function refusal(what, error) {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' && what === 'camera') {
    return 'The camera was refused: allow it for this page in the browser (left of the address), then tap again';
  }
  if (name === 'NotAllowedError') return 'No screen was shared: tap again and pick one';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return `There is no ${what} here`;
  if (name === 'NotReadableError') return `The ${what} gives no picture: perhaps another program uses it`;
  return `The ${what} does not open (${error})`;
}

/**
 * @param {HTMLVideoElement} video
 * @returns {Promise<VideoFrameCallbackMetadata>}
 */
export function nextFrame(video) {
  return new Promise((resolve) => video.requestVideoFrameCallback((_, frame) => resolve(frame)));
}
