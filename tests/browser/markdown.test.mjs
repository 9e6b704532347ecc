// Markdown in answers: what it looks like, that nothing in it can act, and that it stays cheap and calm while it grows.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { launch, Person } from './browser.mjs';
import { ENDLESS, serve } from './server.mjs';

const browser = await launch();
after(() => browser.close());

/** The simulated model echoes the prompt, so Markdown that is asked comes back. */
const ECHO = ['--simulated-delay', '1ms'];

async function echoed(t, markdown, options = {}) {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser, options)).open(server.url);
  await reader.ask(markdown);
  await reader.state('Done');
  return reader;
}

test('an answer in Markdown is formatted', async (t) => {
  const text = [
    '# Title', 'Some **bold** and `code`.', '- one\n- two', '7. seven\n8. eight', '> quoted', '```js\nlet a = 1 < 2;\n```',
    '| a | b |\n|---|--:|\n| 1 | 2 |', '[a link](https://example.org/x)', '![a picture](https://example.org/y.png)', '---', 'End',
  ].join('\n\n');
  const prose = (await echoed(t, text)).answer.locator('.prose');
  const texts = (selector) => prose.locator(selector).allTextContents();
  assert.deepEqual(await texts('h3'), ['Title']);
  assert.deepEqual(await texts('strong'), ['bold']);
  assert.deepEqual(await texts('ul > li'), ['one', 'two']);
  assert.equal(await prose.locator('ol').getAttribute('start'), '7');
  assert.deepEqual(await texts('blockquote p'), ['quoted']);
  assert.deepEqual(await texts('pre code'), ['let a = 1 < 2;\n']);
  assert.deepEqual(await texts('figcaption span'), ['js']);
  assert.deepEqual(await texts('td'), ['1', '2']);
  assert.equal(await prose.locator('td').last().evaluate((cell) => getComputedStyle(cell).textAlign), 'end');
  const links = await prose.locator('a').evaluateAll((all) => all.map(({ href, rel, target, textContent }) => [textContent, href, rel, target]));
  assert.deepEqual(links, [
    ['a link', 'https://example.org/x', 'noopener noreferrer', '_blank'],
    ['a picture', 'https://example.org/y.png', 'noopener noreferrer', '_blank'],
  ]);
  assert.equal(await prose.locator('hr').count(), 1);
});

test('nothing that a model says can act', async (t) => {
  const attacks = [
    '<script>globalThis.hacked = 1</script>',
    '<img src=x onerror="globalThis.hacked = 1">',
    '<svg onload="globalThis.hacked = 1"><a href="javascript:globalThis.hacked = 1">x</a></svg>',
    '<iframe srcdoc="<script>parent.hacked = 1</script>"></iframe><style>body { display: none }</style>',
    '[click](javascript:globalThis.hacked=1)',
    '[click](&#x6A;avascript:globalThis.hacked=1)',
    '[click](data:text/html,<script>globalThis.hacked=1</script>)',
    '![image](javascript:globalThis.hacked=1)',
    '![image](data:image/svg+xml,<svg/onload=globalThis.hacked=1>)',
    '![image](https://example.org/tracker.png)',
    '[x](https://example.org/"onmouseover="globalThis.hacked=1)',
    '<https://example.org/"><img/src=x/onerror=globalThis.hacked=1>',
    '```"><img src=x onerror=globalThis.hacked=1>\n</code></pre><img src=x onerror=globalThis.hacked=1>\n```',
    '| <img src=x onerror=globalThis.hacked=1> |\n|---|\n| <script>globalThis.hacked = 1</script> |',
    '`<img src=x onerror=globalThis.hacked=1>`',
  ];
  const requests = [];
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  reader.page.on('request', (request) => requests.push(request.url()));
  await reader.ask(attacks.join('\n\n'));
  await reader.state('Done');
  await reader.page.reload();
  await reader.state('Done');
  const prose = reader.answer.locator('.prose');
  const allowed = 'p, a, br, code, pre, figure, figcaption, span, button, table, thead, tbody, tr, th, td, h3, ul, ol, li, em, strong';
  const others = await prose.locator(`*:not(${allowed})`).evaluateAll((all) => all.map(({ outerHTML }) => outerHTML));
  assert.deepEqual(others, []);
  const attributes = await prose.locator('*').evaluateAll((all) => [...new Set(all.flatMap((element) => element.getAttributeNames()))]);
  assert.deepEqual(attributes.sort(), ['aria-label', 'class', 'href', 'rel', 'scope', 'tabindex', 'target', 'type']);
  const schemes = await prose.locator('a').evaluateAll((all) => all.map(({ protocol }) => protocol));
  assert.deepEqual([...new Set(schemes)], ['https:']);
  for (const link of await prose.locator('a').all()) await link.dispatchEvent('mouseover');
  assert.equal(await reader.page.evaluate(() => globalThis.hacked), undefined);
  assert.deepEqual(requests.filter((url) => !url.startsWith(server.url)), []);
  for (const attack of ['<script>globalThis.hacked = 1</script>', '[click](javascript:globalThis.hacked=1)']) {
    assert.ok((await reader.text()).includes(attack), 'it is shown as it was written');
  }
});

test('the page can make no HTML of a text, whoever tries', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser, { allowed: /TrustedHTML|trusted types|Trusted Type|CSP: / })).open(server.url);
  const refused = await reader.page.evaluate(() => {
    try {
      document.createElement('p').innerHTML = '<b>x</b>';
      return false;
    } catch {
      return true;
    }
  });
  assert.equal(refused, true);
});

test('code and the source of the whole answer can be copied', async (t) => {
  const text = 'Some *text*:\n\n```sh\nprintf "%s\\n" a\n\techo b\n```\n\nAnd the end';
  const reader = await echoed(t, text, { permissions: ['clipboard-read', 'clipboard-write'] });
  const clipboard = () => reader.page.evaluate(() => navigator.clipboard.readText());
  await reader.button('Copy this code').click();
  await reader.page.getByRole('status').filter({ hasText: 'The code is copied.' }).waitFor();
  assert.equal(await clipboard(), 'printf "%s\\n" a\n\techo b\n');
  await reader.button('Copy the answer').click();
  await reader.page.getByRole('status').filter({ hasText: 'The answer is copied.' }).waitFor();
  assert.ok((await clipboard()).startsWith(text));
});

test('what is selected in a finished block stays selected while the answer grows', async (t) => {
  const server = await serve(t, ENDLESS.with(3, '5ms'));
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.ask('Count to infinity');
  await reader.page.waitForFunction(() => document.querySelectorAll('.prose > p').length > 1);
  const selected = await reader.page.evaluate(() => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector('.prose > p'));
    getSelection().addRange(range);
    return getSelection().toString();
  });
  await reader.page.waitForFunction(() => document.querySelectorAll('.prose > p').length > 3);
  assert.equal(await reader.page.evaluate(() => getSelection().toString()), selected);
});

/** How many characters were read by the Markdown reader, and elements made, for a text that came in pieces of 20. */
function workOf(text) {
  return `(async () => {
    const { Prose } = await import('/assets/prose.js');
    const text = ${JSON.stringify(text)};
    const element = document.createElement('div');
    document.body.append(element);
    let [made, removed] = [0, 0];
    const observer = new MutationObserver((records) => {
      for (const record of records) [made, removed] = [made + record.addedNodes.length, removed + record.removedNodes.length];
    });
    observer.observe(element, { childList: true, subtree: true });
    const prose = new Prose(element, () => {});
    for (let at = 0; at < text.length; at += 20) {
      prose.append(text.slice(at, at + 20));
      prose.release();
    }
    await new Promise((resolve) => setTimeout(resolve));
    const streamed = element.cloneNode(true);
    const whole = new Prose(element, () => {});
    whole.clear();
    whole.append(text);
    whole.release();
    return { made, removed, same: streamed.isEqualNode(element), blocks: element.children.length };
  })()`;
}

test('a long answer that grows becomes what it would be at once, and no finished element is made again', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const section = '## Title\n\nSome *text* with `code` and https://example.org/a.\n\n- one\n- two\n  - three\n\n```js\nlet a = 1;\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n';
  const text = section.repeat(Math.ceil(20_000 / section.length));
  const { made, removed, same, blocks } = await reader.page.evaluate(workOf(text));
  assert.equal(same, true);
  assert.ok(blocks > 500);
  // What a block goes through while it grows (a table is a paragraph first), not what the whole answer is.
  assert.ok(made < 60 * (text.length / section.length), `${made} made`);
  assert.ok(removed < made, `${removed} removed`);
});

test('a list and a code block that fill an answer keep the elements that they have', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const list = await reader.page.evaluate(workOf('- an item of the list\n'.repeat(300)));
  assert.deepEqual([list.same, list.blocks], [true, 1]);
  assert.ok(list.removed < 300, `${list.removed} removed`);
  const code = await reader.page.evaluate(workOf(`\`\`\`\n${'some code\n'.repeat(500)}`));
  assert.deepEqual([code.same, code.blocks], [true, 1]);
  assert.ok(code.made < 20, `${code.made} made`);
});
