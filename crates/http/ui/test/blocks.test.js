import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Blocks } from '../blocks.js';
import { blocks } from '../markdown.js';

const TEXTS = [
  'One paragraph\nof two lines.\n\nAnother one, and `code`.\n\n\n\nA third.',
  '# Title\nA paragraph right below\n## Another\n\n---\n***\nText\n===\n\nText\n-\n',
  '- one\n- two\n\n- three after a blank line\n\n  with a paragraph\n\n      and code\n\nNot of the list\n\n2. two\n3. three\n* other\n',
  '1. one\n\n2. two\n\n2 is not an item\n\n1) other\n10) ten\n',
  'Code:\n```js\nlet a = 1;\n\n# no title\n```\nText\n\n~~~\nopen to the end\n\n- no list',
  '    indented\n\n    code\n  text\n\n> quote\nlazy\n\n> other\n>\n> - list\n\nend',
  '| a | b |\n|---|--:|\n| 1 | 2 |\n| 3 | 4 |\nnot a row?\n\nafter | all\n',
  'line\r\nbreaks\r\n\r\nof another\rkind\r\rend\r\n',
  '[ref]: https://example.org\n\nsee [ref] and [other]\n\n[other]: https://example.net\n',
  '<div>\n\n*not html*\n\n</div>\n<!-- open\n\nstill text',
];

/** What a block looks like, apart from where its text begins. */
const shape = ({ tokens }) => tokens.map(({ type, hidden, content, info, attrs, children }) => [
  type, hidden, content, info, attrs, children?.map((child) => [child.type, child.content, child.attrs]),
]);

/** The blocks of a text that comes in these deltas: those that were finished on the way, and the rest. */
function streamed(pieces) {
  const reading = new Blocks(blocks);
  const all = [];
  let growing = [];
  for (const piece of pieces) {
    const step = reading.push(piece);
    all.push(...step.finished);
    growing = step.growing;
  }
  return [...all, ...growing].map(shape);
}

test('text that comes in deltas gives the blocks of the whole text, wherever it is split', () => {
  for (const text of [...TEXTS, TEXTS.join('\n\n')]) {
    const whole = blocks(text).map(shape);
    assert.deepEqual(streamed([...text]), whole, 'character by character');
    for (let cut = 1; cut < text.length; cut += 1) {
      assert.deepEqual(streamed([text.slice(0, cut), text.slice(cut)]), whole, JSON.stringify(text.slice(0, cut)));
    }
  }
});

test('a block that is finished is not read again', () => {
  let longest = 0;
  const reading = new Blocks((text) => {
    longest = Math.max(longest, text.length);
    return blocks(text);
  });
  for (let at = 0; at < 2_000; at += 1) reading.push(`Paragraph ${at} of a long answer.\n\n`);
  assert.ok(longest < 200, `${longest} characters were read at once`);
});

test('tags are text', () => {
  const types = blocks('<script>alert(1)</script>\n\n<img src=x onerror=alert(1)> <b>b</b>').flatMap(({ tokens }) =>
    tokens.flatMap(({ type, children }) => [type, ...(children ?? []).map((child) => child.type)]),
  );
  assert.deepEqual([...new Set(types)].sort(), ['inline', 'paragraph_close', 'paragraph_open', 'text']);
});

test('only links to the web and to mail are links', () => {
  const links = (text) =>
    blocks(text).flatMap(({ tokens }) => tokens.flatMap(({ children }) => (children ?? []).flatMap((token) => token.attrGet('href') ?? token.attrGet('src') ?? [])));
  assert.deepEqual(links('[a](https://example.org) <http://example.org> [m](mailto:a@example.org) https://example.net'), [
    'https://example.org', 'http://example.org', 'mailto:a@example.org', 'https://example.net',
  ]);
  const refused = [
    '[a](javascript:alert(1))', '[a](JaVaScRiPt:alert(1))', '[a](&#106;avascript:alert(1))', '[a](java\nscript:alert(1))',
    '[a](data:text/html,<script>alert(1)</script>)', '![a](data:image/svg+xml;base64,AAAA)', '[a](vbscript:x)', '[a](file:///etc/passwd)',
    '[a](//example.org)', '[a](/ask)', '[a](#x)', '<javascript:alert(1)>', '![a](blob:x)', '[a](\u0001javascript:alert(1))',
  ];
  for (const text of refused) assert.deepEqual(links(text), [], text);
});

test('texts that were made to be slow are not', () => {
  const long = 20_000;
  for (const odd of ['[', '*a_ ', '>', '`a``b', '![a](', '<a ', 'http://', '- ', '|a', '**a', '((((', '&#', '\\']) {
    blocks(odd.repeat(long / odd.length));
  }
});
