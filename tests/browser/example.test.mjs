// examples/browser: a page of another origin, in one file, against a real server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { launch, Person } from './browser.mjs';
import { atEnd } from './cleanup.mjs';
import { serve } from './server.mjs';

const EXAMPLES = new URL('../../examples/', import.meta.url);
const MODELS = ['--models', fileURLToPath(new URL('models.toml', EXAMPLES))];

/** What the browser itself writes to the console when a connection breaks, or a request of another origin is refused. */
const COMPLAINTS = /^Failed to load resource: |^Access to fetch at /;

const browser = await launch();
after(() => browser.close());

/** The page, as a static file server gives it out, and a server of answers. */
async function visit(t, args = []) {
  const server = await serve(t, [...MODELS, ...args]);
  const html = await readFile(new URL('browser/index.html', EXAMPLES));
  const files = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end(html)).listen(0, '127.0.0.1');
  await once(files, 'listening');
  atEnd(t, () => files.close().closeAllConnections());
  const person = await Person.arrive(t, browser, { allowed: COMPLAINTS });
  const { page } = await person.open(`http://127.0.0.1:${files.address().port}/?server=${new URL(server.url).origin}`);
  return { server, page, text: () => page.getByRole('region', { name: 'Answer' }).textContent() };
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const state = (page, words) => page.getByRole('status').getByText(words).waitFor();
const grown = (page, length) => page.waitForFunction((least) => document.getElementById('answer').textContent.length > least, length);

/** What the server has, once the answer has ended. */
const kept = async (server, page) => server.text(new URL(page.url()).hash.slice(1));

test('the page of the examples goes on after a reload and a killed server', async (t) => {
  const { server, page, text } = await visit(t);
  await button(page, 'Start').click();
  await grown(page, 30);
  const before = await text();
  await page.reload();
  await grown(page, before.length);
  assert.ok((await text()).startsWith(before));
  await server.kill();
  await state(page, 'Reconnecting');
  const cut = await text();
  await server.start();
  await state(page, 'Done.');
  assert.ok((await text()).startsWith(cut));
  assert.equal(await text(), await kept(server, page));
  assert.match(await text(), /none left out\.$/);
  await page.reload();
  await state(page, 'Done.');
  assert.equal(await text(), await kept(server, page));
});

test('the page of the examples stops an answer, and begins another one', async (t) => {
  const { server, page, text } = await visit(t);
  await button(page, 'Start').click();
  await grown(page, 30);
  await button(page, 'Stop').click();
  await state(page, 'Stopped.');
  assert.equal(await text(), await kept(server, page));
  await page.getByRole('textbox', { name: 'Question' }).fill('Say hello.');
  await button(page, 'Start').click();
  await state(page, 'Done.');
  assert.equal(await text(), 'Hello, 👩‍🚀!\n  Bye.');
  assert.equal(await button(page, 'Stop').isDisabled(), true);
});

test('the page of the examples says what is wrong', async (t) => {
  const { server, page } = await visit(t);
  await page.getByRole('textbox', { name: 'Question' }).fill('Refuse.');
  await button(page, 'Start').click();
  await state(page, 'It failed.');
  await page.goto(page.url().replace(/#.*/, '#0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3'));
  await state(page, 'There is no such answer');
  await page.getByRole('textbox', { name: 'Question' }).fill(' ');
  await button(page, 'Start').click();
  await state(page, 'query is empty');
  await server.kill();
  await button(page, 'Start').click();
  await state(page, 'There is no server at');
});

test('a page of an origin that is not allowed gets nothing', async (t) => {
  const { page, text } = await visit(t, ['--cors', 'http://localhost:1']);
  await button(page, 'Start').click();
  await state(page, 'There is no server at');
  assert.equal(await text(), '');
});
