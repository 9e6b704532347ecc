import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ago, count, duration, excerpt, rate } from '../format.js';
import { freshId, idIn } from '../ids.js';

test('durations are as exact as they are short', () => {
  const cases = [
    [0, '0 ms'],
    [-5, '0 ms'],
    [240.4, '240 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [59_940, '59.9 s'],
    [59_960, '1 min 0 s'],
    [125_000, '2 min 5 s'],
    [3_725_000, '1 h 2 min'],
  ];
  for (const [milliseconds, text] of cases) assert.equal(duration(milliseconds), text);
});

test('rates and counts are readable', () => {
  assert.equal(rate(4.04), '4.0 /s');
  assert.equal(rate(9.96), '10 /s');
  assert.equal(rate(1234.5), '1,235 /s');
  assert.equal(rate(Infinity), null);
  assert.equal(count(100_000), '100,000');
});

test('past times are shown in the largest unit that fits', () => {
  const minute = 60_000;
  const now = 1_000_000 * minute;
  assert.equal(ago(now - 20_000, now), 'just now');
  assert.equal(ago(now - minute, now), '1 minute ago');
  assert.equal(ago(now - 90 * minute, now), '2 hours ago');
  assert.equal(ago(now - 1_440 * minute, now), 'yesterday');
});

test('an excerpt is one line, cut at a word', () => {
  assert.equal(excerpt('  one\n two  ', 20), 'one two');
  assert.equal(excerpt('one two three four', 14), 'one two three…');
  assert.equal(excerpt('x'.repeat(30), 10), `${'x'.repeat(10)}…`);
});

test('a page that is not on a secure address makes its own valid ids', () => {
  const insecure = { getRandomValues: (bytes) => crypto.getRandomValues(bytes) };
  const ids = Array.from({ length: 100 }, () => freshId(insecure));
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(idIn(`#${id}`), id);
  }
  assert.equal(new Set(ids).size, ids.length);
});

test('an address names a generation or nothing', () => {
  assert.equal(idIn('#0192F0C1-2D3E-7A4B-8C5D-6E7F8091A2B3'), '0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3');
  for (const hash of ['', '#', '#answer', '#../ask', '#0192f0c1-2d3e-7a4b-8c5d']) assert.equal(idIn(hash), null);
});
