/** What the browser is asked for: to keep the page without its server, to keep the screen on, to save files. */

const CONTROL_MS = 3000; // for the service worker to take over; without it only the offline use is missing

/** Have the service worker keep what is loaded from now on; resolves when it does, or cannot. */
export async function keepOffline() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register('/offline.js');
  if (navigator.serviceWorker.controller) return;
  const control = new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
  await Promise.race([control, new Promise((resolve) => setTimeout(resolve, CONTROL_MS))]);
}

/** Keep a phone's screen on while the page is seen. */
export async function keepAwake() {
  const ask = async () => {
    if (document.visibilityState === 'visible') await navigator.wakeLock?.request('screen').catch(ignoreRefusal);
  };
  document.addEventListener('visibilitychange', ask);
  await ask();
}

/**
 * Save a file where the browser puts downloads.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has read it by then
}

/**
 * A phone that saves its battery refuses to keep the screen on.
 * @param {unknown} error
 */
function ignoreRefusal(error) {
  if (!(error instanceof DOMException && error.name === 'NotAllowedError')) throw error;
}
