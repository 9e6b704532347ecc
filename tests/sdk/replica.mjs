// A replica that goes away in mid-answer, as OpenAI's SDK for Node sees it. Whoever runs this has started two of them.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import OpenAI from 'openai';

import { collect, isCut, whole } from './cutting.mjs';

const SLOWLY = 'Talk slowly.';
const { TOKENWIRE_LEAVING, TOKENWIRE_URL, TOKENWIRE_PID, TOKENWIRE_SIGNAL } = process.env;

const at = (url) => new OpenAI({ baseURL: new URL('v1', url).href, apiKey: 'any', maxRetries: 0 });
const leaving = at(TOKENWIRE_LEAVING);
const direct = at(TOKENWIRE_URL);

/** Adds what comes to the events, until the stream is cut. Its clean end would be taken for the end of the answer. */
async function cut(events, stream, onEvent = () => {}) {
  const reading = async () => {
    for await (const event of stream) onEvent(events.push(event));
  };
  await assert.rejects(reading, isCut);
}

const chunks = [];
const events = [];
const messages = [{ role: 'user', content: SLOWLY }];
const chat = await leaving.chat.completions.create({ model: 'scripted', messages, stream: true });
const asked = { model: 'scripted', input: SLOWLY, background: true };
const key = { headers: { 'Idempotency-Key': randomUUID() } };
const stream = await leaving.responses.create({ ...asked, stream: true }, key);
const leave = (seen) => seen === 8 && process.kill(Number(TOKENWIRE_PID), TOKENWIRE_SIGNAL);
await Promise.all([cut(chunks, chat), cut(events, stream, leave)]);
assert.ok(events.length >= 8 && chunks.length > 0);
assert.ok(chunks.every((chunk) => chunk.choices[0].finish_reason === null));

const { id } = events[0].response;
assert.equal((await direct.responses.create(asked, key)).id, id, 'the same call at the other one');
const { sequence_number } = events.at(-1);
events.push(...(await collect(await direct.responses.retrieve(id, { stream: true, starting_after: sequence_number }))));
const uncut = await whole({ direct }, id);
assert.deepEqual(events, uncut);
assert.equal(uncut.at(-1).type, 'response.completed');
const { output_text } = await direct.responses.retrieve(id);
const said = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
assert.ok(output_text.startsWith(said));
const others = await direct.responses.retrieve(chunks[0].id, { stream: true });
assert.equal((await collect(others)).at(-1).response.output[0].content[0].text, output_text);
