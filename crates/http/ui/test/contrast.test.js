import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const CSS = readFileSync(new URL('../base.css', import.meta.url), 'utf8');

/** What is written on what. WCAG AA asks for 4.5 to 1. */
const TEXT = [
  ['ink', 'ground'], ['ink', 'surface'], ['ink', 'sunken'],
  ['soft', 'ground'], ['soft', 'surface'], ['soft', 'sunken'],
  ['accent-ink', 'accent'], ['accent', 'accent-wash'], ['accent', 'ground'], ['accent', 'surface'],
  ['good', 'good-wash'], ['warn', 'warn-wash'], ['bad', 'bad-wash'], ['bad', 'surface'], ['warn', 'surface'],
];

/** Focus rings, the text cursor of the answer, the ticks of the wire: 3 to 1. */
const SHAPES = [['accent', 'ground'], ['accent', 'surface'], ['warn', 'ground'], ['line-strong', 'ground'], ['line-strong', 'surface']];

function colour(name, scheme) {
  const pair = new RegExp(`--${name}: light-dark\\((#\\w{6}), (#\\w{6})\\)`).exec(CSS);
  assert.ok(pair, `--${name} has a light and a dark value`);
  return pair[scheme === 'light' ? 1 : 2];
}

function luminance(hex) {
  const channel = (at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
}

function contrast(one, other) {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

for (const scheme of ['light', 'dark']) {
  test(`everything can be read in ${scheme} colours`, () => {
    for (const [pairs, least] of [[TEXT, 4.5], [SHAPES, 3]]) {
      for (const [front, back] of pairs) {
        const ratio = contrast(colour(front, scheme), colour(back, scheme));
        assert.ok(ratio >= least, `${front} on ${back} is ${ratio.toFixed(2)} to 1`);
      }
    }
  });
}
