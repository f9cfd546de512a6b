// Run cases through the page's modules: node numbers.mjs FOLDER < [[function, arguments...], ...] > results.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}.js`).href);
const { networkInput, enlargedMask, enlargedClasses } = await load('resize');
const { dropSmall, keepLargest, masks, probabilities } = await load('mask');
const calls = {
  networkInput: (rgba, ...rest) => networkInput(Uint8ClampedArray.from(rgba), ...rest),
  enlargedMask: (map, ...rest) => enlargedMask(Float32Array.from(map), ...rest),
  enlargedClasses: (maps, ...rest) => enlargedClasses(maps.map((map) => Float32Array.from(map)), ...rest).flatMap((mask) => Array.from(mask)),
  masks: (output, ...rest) => masks(Float32Array.from(output), ...rest).flatMap((mask) => Array.from(mask)),
  dropSmall: (mask, smallest) => dropSmall(Uint8Array.from(mask), smallest),
  keepLargest: (mask, width) => keepLargest(Uint8Array.from(mask), width),
  probabilities: (output, ...rest) => probabilities(Float32Array.from(output), ...rest).flatMap((map) => Array.from(map)),
};
const cases = JSON.parse(readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(cases.map(([name, ...values]) => Array.from(calls[name](...values)))));
