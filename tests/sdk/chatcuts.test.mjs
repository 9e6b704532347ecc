// Chat completions that are cut, as OpenAI's SDK for Node sees them: a cut raises, and what is missing can be read elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { collect, connect, planned, read, whole } from './cutting.mjs';

const CHAT = { model: 'scripted', messages: [{ role: 'user', content: 'Talk on.' }], stream: true };

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
const deltas = (events) => events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);

test('the rest of a chat completion that was cut is at responses, and at ask', async (t) => {
  const connected = await connect(t);
  for (const [every, more] of [[1, '+40'], [11, '+999999']]) {
    const chunks = [];
    const stream = await connected.proxied.chat.completions.create(CHAT, planned(`hold ${every}${more}`));
    assert.equal(await read(connected, chunks, stream, every), false);
    assert.equal(chunks.length, every);
    assert.ok(chunks.every((chunk) => chunk.choices[0].finish_reason === null));

    const { id } = chunks[0];
    assert.match(id, /^chatcmpl-/);
    const events = await whole(connected, id);
    assert.equal(events.at(-1).type, 'response.completed');
    const after = events.findIndex((_, n) => deltas(events.slice(0, n + 1)).join('') === textOf(chunks));
    const rest = await collect(await connected.direct.responses.retrieve(id, { stream: true, starting_after: after }));
    assert.deepEqual(rest, events.slice(after + 1));
    const all = textOf(chunks) + deltas(rest).join('');
    assert.equal(all, events.at(-1).response.output[0].content[0].text);
    assert.equal(await connected.server.text(id.replace('chatcmpl-', '')), all);
  }
});

test('the helper of chat completions raises at a cut', async (t) => {
  const { proxied, proxy } = await connect(t);
  const runner = proxied.chat.completions.stream(CHAT, planned('hold 4'));
  runner.once('content', () => proxy.cut());
  await assert.rejects(runner.finalChatCompletion(), /terminated/);
});
