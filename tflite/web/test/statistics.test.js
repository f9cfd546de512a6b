import assert from 'node:assert/strict';
import test from 'node:test';

import { milliseconds, Rate, Window } from '../page/statistics.js';

test('quantiles are those of NumPy', () => {
  const window = new Window(10);
  for (const value of [4, 1, 3, 2]) window.add(value);
  assert.equal(window.quantile(0.5), 2.5);
  assert.equal(window.quantile(0.9), 3.7); // numpy.percentile([1, 2, 3, 4], 90)
  assert.equal(window.quantile(1), 4);
});

test('a window forgets what is older than its length', () => {
  const window = new Window(3);
  for (const value of [100, 1, 2, 3]) window.add(value);
  assert.equal(window.quantile(1), 3);
  window.clear();
  assert.ok(Number.isNaN(window.quantile(0.5)));
});

test('a rate is that of the last two seconds', () => {
  const rate = new Rate();
  assert.ok(Number.isNaN(rate.perSecond));
  for (let now = 0; now <= 3000; now += 100) rate.add(now);
  assert.equal(rate.perSecond, 10);
  for (let now = 3500; now <= 8000; now += 500) rate.add(now);
  assert.equal(rate.perSecond, 2);
});

test('frames that are rarer than two seconds have a rate, too', () => {
  const rate = new Rate();
  for (const now of [0, 4000, 8000]) rate.add(now);
  assert.equal(rate.perSecond, 0.25);
});

test('milliseconds have two digits that count', () => {
  assert.deepEqual([0.44, 9.94, 9.96, 123.4, NaN].map(milliseconds), ['0.4', '9.9', '10', '123', '–']);
});
