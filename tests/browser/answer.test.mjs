// What a reader sees of an answer, from the first word to the last.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { BROKEN, launch, letters, Person } from './browser.mjs';
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
  const exact = await server.text(id);
  assert.equal(letters(whole), letters(exact));
  assert.deepEqual(await reader.kept(), [[['Tell me a story', exact]]]);
  assert.equal(await reader.figure('Pieces'), '200');
  for (const name of ['First token', 'Rate', 'Elapsed']) assert.match(await reader.figure(name), /^\d/);
  assert.match(await reader.page.title(), /^Done · Tell me a story$/);
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
  assert.equal(letters(text), letters(await server.text(id)));
  assert.equal(await other.text(), text);
  assert.equal(await reader.button('Stop').isVisible(), false);
});

test('an answer that fails says why and can be asked for again', async (t) => {
  const server = await serve(t, [...STORY, '--simulated-fault', 'error:5', '--attempts', '1']);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Break, please');
  await reader.state('Failed');
  assert.equal(letters(await reader.text()), letters(await server.text(id)));
  assert.match(await reader.answer.locator('.notice p').textContent(), /\w/);
  await reader.button('Ask again').click();
  await reader.id(`#${id}`);
  await reader.state('Failed');
  assert.deepEqual(await reader.said.allTextContents(), ['Break, please']);
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
    'event: reasoning\nid: 2\ndata:{"text":"First thoughts"}',
    'id: 3\ndata: The first draft',
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
  await reader.answer.getByText(/WEST-1/).waitFor();
});

test('an answer that takes too long is timed out and keeps its text', async (t) => {
  const server = await serve(t, [...ENDLESS, '--timeout', '1']);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Count to infinity');
  await reader.state('Timed out');
  assert.notEqual(await reader.text(), '');
  assert.equal(letters(await reader.text()), letters(await server.text(id)));
});

test('a prompt that the server refuses is given back with the reason', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  const query = 'x'.repeat(2_000_000);
  await reader.prompt.fill(query);
  await reader.button('Send').click();
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
  await reader.page.getByRole('status').filter({ hasText: 'The answer is copied.' }).waitFor();
  assert.equal(await reader.page.evaluate(() => navigator.clipboard.readText()), await server.text(id));
  await reader.button('Copy the link to this answer').click();
  await reader.page.waitForFunction(async () => (await navigator.clipboard.readText()) === location.href);
});

test('thoughts and tool calls are shown apart from the answer', async (t) => {
  const server = await serve(t);
  const person = await Person.arrive(t, browser, { permissions: ['clipboard-read', 'clipboard-write'] });
  const reader = await person.open(server.url);
  const frames = [
    'event: reasoning\nid: 1\ndata:{"text":"Let me\\n"}',
    'event: reasoning\nid: 2\ndata:{"text":"think <b>."}',
    'id: 3\ndata: I look it up.',
    'event: tool_call\nid: 4\ndata:{"index":0,"id":"call_1","name":"weather","arguments":"{\\"in\\":"}',
    'event: tool_call\nid: 5\ndata:{"index":0,"arguments":"\\"Paris\\"}"}',
    'event: done\nid: 6\ndata:{"finish_reason":"tool_calls","usage":{"input_tokens":1,"output_tokens":9}}',
  ];
  const body = frames.map((frame) => `${frame}\n\n`).join('');
  await reader.page.route('**/ask', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
  await reader.ask('How is the weather?');
  await reader.state('Done');
  const check = async () => {
    assert.equal(await reader.text(), 'I look it up.');
    const thoughts = reader.answer.locator('.thoughts');
    assert.equal(await thoughts.isVisible(), false);
    await reader.answer.getByText('Thinking', { exact: true }).click();
    assert.equal(await thoughts.textContent(), 'Let me\nthink <b>.');
    assert.equal(await thoughts.isVisible(), true);
    const call = reader.answer.locator('.tools figure');
    assert.equal(await call.locator('figcaption span').textContent(), 'Tool call: weather');
    assert.deepEqual(JSON.parse(await call.locator('code').textContent()), { in: 'Paris' });
  };
  await check();
  await reader.page.reload();
  await check();
});
