// What a reader sees of an answer, from the first word to the last.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { BROKEN, launch, Person } from './browser.mjs';
import { ENDLESS, serve, STORY } from './server.mjs';

const browser = await launch();
after(() => browser.close());

test('the text grows while it is written and is exact in the end', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Tell me a story');
  const early = await reader.grown(0);
  const later = await reader.grown(early.length);
  assert.ok(later.startsWith(early));
  await reader.state('Done');
  const whole = await reader.text();
  assert.ok(whole.startsWith(later));
  assert.equal(whole, await server.text(id));
  assert.equal(await reader.figure('Pieces'), '200');
  for (const name of ['First token', 'Rate', 'Elapsed']) assert.match(await reader.figure(name), /^\d/);
  assert.match(await reader.page.title(), /^Done · Tell me a story$/);
});

test('text is shown as text, white space and all', async (t) => {
  const server = await serve(t, ['--simulated-delay', '1ms']);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const query = '<img src=x onerror=alert(1)> <b>two</b>  spaces\n\n\tand a tab & "quotes" 🚀';
  const id = await reader.ask(query);
  await reader.state('Done');
  assert.equal(await reader.text(), await server.text(id));
  assert.ok((await reader.text()).startsWith(query));
  assert.equal(await reader.page.locator('#text :is(img, b)').count(), 0);
  assert.equal(await reader.page.locator('#text').evaluate((element) => getComputedStyle(element).whiteSpace), 'pre-wrap');
});

test('a stop stops the generation, for every reader', async (t) => {
  const server = await serve(t, ENDLESS);
  const person = await Person.arrive(t, browser);
  const reader = await person.open(server.url);
  const id = await reader.ask('Count to infinity');
  await reader.grown(0);
  const other = await person.open(`${server.url}#${id}`);
  await other.grown(0);
  await reader.button('Stop').click();
  await Promise.all([reader.state('Cancelled'), other.state('Cancelled')]);
  const text = await reader.text();
  assert.equal(text, await server.text(id));
  assert.equal(await other.text(), text);
  assert.equal(await reader.button('Stop').isVisible(), false);
});

test('an answer that fails says why and can be asked for again', async (t) => {
  const server = await serve(t, [...STORY, '--simulated-fault', 'error:5', '--attempts', '1']);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Break, please');
  await reader.state('Failed');
  assert.equal(await reader.text(), await server.text(id));
  assert.match(await reader.page.locator('#notice-text').textContent(), /\w/);
  await reader.button('Ask again').click();
  await reader.page.waitForFunction((old) => !location.hash.endsWith(old), id);
  await reader.state('Failed');
  assert.equal(await reader.prompt.inputValue(), 'Break, please');
});

test('a prompt that no worker takes in time expires', async (t) => {
  const server = await serve(t, [...ENDLESS, '--slots', '1', '--queue-time', '1s', '--timeout', '3']);
  const person = await Person.arrive(t, browser);
  const first = await person.open(server.url);
  const second = await person.open(server.url);
  await first.ask('Take the only worker for three seconds');
  await first.grown(0);
  await second.ask('Wait in vain');
  await second.state('Queued');
  await second.state('Expired');
  assert.equal(await second.text(), '');
});

test('text that the model took back is cleared', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  // No model that comes with the server ever starts over, so this one answer is written here.
  const frames = [
    'event: started\nid: 1\ndata:{"attempt":1}',
    'id: 2\ndata: The first',
    'id: 3\ndata:  draft',
    'event: rewind\nid: 4\ndata:{"attempt":2,"region":"WEST-1"}',
    'id: 5\ndata: The answer',
    'event: done\nid: 6\ndata:{"finish_reason":"stop","usage":{"input_tokens":1,"output_tokens":3}}',
  ];
  const body = frames.map((frame) => `${frame}\n\n`).join('');
  await reader.page.route('**/ask', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
  await reader.ask('Change your mind');
  await reader.state('Done');
  assert.equal(await reader.text(), 'The answer');
  assert.equal(await reader.figure('Pieces'), '1');
  await reader.answer.getByText('WEST-1 · attempt 2').waitFor();
});

test('an answer that takes too long is timed out and keeps its text', async (t) => {
  const server = await serve(t, [...ENDLESS, '--timeout', '1']);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Count to infinity');
  await reader.state('Timed out');
  assert.notEqual(await reader.text(), '');
  assert.equal(await reader.text(), await server.text(id));
});

test('a prompt that the server refuses is given back with the reason', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  const query = 'x'.repeat(2_000_000);
  await reader.prompt.fill(query);
  await reader.button('Start').click();
  await reader.page.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  assert.equal((await reader.prompt.inputValue()).length, query.length);
  assert.equal(new URL(reader.page.url()).hash, '');
  assert.equal(await reader.page.locator(':focus').getAttribute('id'), 'prompt');
});

test('the copy button takes the exact text', async (t) => {
  const server = await serve(t);
  const person = await Person.arrive(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] });
  const reader = await person.open(server.url);
  const id = await reader.ask('Something to keep');
  await reader.state('Done');
  await reader.button('Copy the answer').click();
  await reader.page.getByText('Copied', { exact: true }).waitFor();
  assert.equal(await reader.page.evaluate(() => navigator.clipboard.readText()), await server.text(id));
  await reader.button('Copy the link to this answer').click();
  await reader.page.waitForFunction(async () => (await navigator.clipboard.readText()) === location.href);
});
