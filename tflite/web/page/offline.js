/** The service worker: what was loaded once is there without the server, and a server that answers is always right. */

const CACHE = 'tfseg';
const LIST = '/demo.json';

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

scope.addEventListener('install', (event) => event.waitUntil(fill()));
scope.addEventListener('activate', (event) => event.waitUntil(scope.clients.claim()));
scope.addEventListener('fetch', (event) => {
  if (event.request.method === 'GET') event.respondWith(answer(event.request));
});

/** Keep the page's own files; models, clip and LiteRT's WebAssembly follow when they are loaded. */
async function fill() {
  const cache = await caches.open(CACHE);
  const { files } = await (await fetch(LIST)).json();
  await cache.addAll([LIST, ...files]);
  await scope.skipWaiting();
}

/**
 * @param {Request} request
 * @returns {Promise<Response>}
 */
async function answer(request) {
  const cache = await caches.open(CACHE);
  let response;
  try {
    response = await fetch(request);
  } catch (error) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw error;
  }
  if (response.ok) await cache.put(request, response.clone());
  if (response.ok && new URL(request.url).pathname === LIST) await forget(cache, await response.clone().json());
  return response;
}

/**
 * Drop the files that the server names no longer.
 * @param {Cache} cache
 * @param {{models: {url: string}[]}} list
 */
async function forget(cache, { models }) {
  const named = new Set(models.map(({ url }) => url));
  for (const request of await cache.keys()) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/models/') && !named.has(pathname)) await cache.delete(request);
  }
}
