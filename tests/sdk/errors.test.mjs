// What is not there, not allowed or no longer wanted, raw and by the helpers, as OpenAI's SDK for Node says it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

import { collect, ENDLESS, EVERYTHING } from './cutting.mjs';
import { serveModels } from './models.mjs';

const NOBODY = 'resp_0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3';
const GREET = { model: 'scripted', input: 'Greet me.' };
const SAID = { model: 'scripted', messages: [{ role: 'user', content: 'Greet me.' }] };

async function connect(t) {
  const server = await serveModels(t);
  const client = new OpenAI({ baseURL: new URL('v1', server.url).href, apiKey: 'any', maxRetries: 0 });
  return { client, responses: client.responses, chat: client.chat.completions };
}

/** Every way to create a response. */
const created = ({ responses }, asked) => [
  () => responses.create(asked),
  () => responses.create({ ...asked, background: true }),
  () => responses.create({ ...asked, stream: true }),
  () => collect(responses.stream(asked)),
  () => responses.stream(asked).finalResponse(),
];

const answered = ({ chat }, asked) => [
  () => chat.create(asked),
  () => chat.create({ ...asked, stream: true }),
  () => chat.stream(asked).finalChatCompletion(),
];

/** Every way to read a response. */
const read = ({ responses }, id) => [
  () => responses.retrieve(id),
  () => responses.retrieve(id, { stream: true }),
  () => responses.retrieve(id, { stream: true, starting_after: 3 }),
  () => collect(responses.stream({ response_id: id })),
  () => responses.stream({ response_id: id, starting_after: 3 }).finalResponse(),
  () => responses.inputItems.list(id),
  () => responses.cancel(id),
  () => responses.delete(id),
];

async function rejects(kind, calls, expected) {
  for (const call of calls) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof kind, `${call}: ${error}`);
      for (const [field, value] of Object.entries(expected)) assert.equal(error[field], value, String(call));
      assert.match(error.requestID, /^req_/);
      return true;
    });
  }
}

test('what is not there is not found, however it is asked for', async (t) => {
  const connected = await connect(t);
  for (const id of [NOBODY, 'resp_1', 'a']) {
    await rejects(OpenAI.NotFoundError, read(connected, id), { status: 404, code: 'not_found', type: 'invalid_request_error' });
  }
  const unknown = { status: 404, code: 'model_not_found' };
  await rejects(OpenAI.NotFoundError, created(connected, { ...GREET, model: 'gpt' }), unknown);
  await rejects(OpenAI.NotFoundError, answered(connected, { ...SAID, model: 'gpt' }), unknown);
});

test('what is wrong is a bad request that names it, however it is asked for', async (t) => {
  const connected = await connect(t);
  for (const [param, wrong] of [['temperature', 3], ['max_output_tokens', 0], ['conversation', 'conv_1'], ['input', '']]) {
    await rejects(OpenAI.BadRequestError, created(connected, { ...GREET, [param]: wrong }), { status: 400, param });
  }
  for (const [param, wrong] of [['temperature', 3], ['n', 2], ['max_tokens', 0], ['messages', []]]) {
    await rejects(OpenAI.BadRequestError, answered(connected, { ...SAID, [param]: wrong }), { status: 400, param });
  }
  const after = { ...GREET, previous_response_id: NOBODY };
  await rejects(OpenAI.BadRequestError, created(connected, after), { status: 400, code: 'previous_response_not_found' });
  const { id } = await connected.responses.create(GREET);
  const places = [-1, 1.5, 'a'].map((starting_after) => () => connected.responses.retrieve(id, { stream: true, starting_after }));
  await rejects(OpenAI.BadRequestError, places, { status: 400, param: 'starting_after' });
});

test('a failure raises, whole, streamed and by the helper', async (t) => {
  const { responses } = await connect(t);
  const stumble = { ...GREET, input: 'Stumble.' };
  await assert.rejects(responses.create(stumble), (error) => error instanceof OpenAI.BadRequestError && error.code === 'rejected');
  const lost = /it lost its thread/;
  await assert.rejects(async () => collect(await responses.create({ ...stumble, stream: true })), lost);
  await assert.rejects(responses.stream(stumble).finalResponse(), lost);
  const { id } = await responses.create({ ...stumble, background: true });
  await assert.rejects(async () => collect(await responses.retrieve(id, { stream: true })), lost);
  await assert.rejects(responses.stream({ response_id: id }).finalResponse(), lost);
  assert.equal((await responses.retrieve(id)).status, 'failed');
});

test('a stopped response ends for whoever reads it', async (t) => {
  const { responses, chat } = await connect(t);
  const ways = [
    () => responses.create({ ...ENDLESS, background: true, stream: true }),
    () => responses.stream({ ...ENDLESS, background: true }),
    async () => responses.stream({ response_id: (await responses.create({ ...ENDLESS, background: true })).id }),
  ];
  for (const way of ways) {
    const events = [];
    for await (const event of await way()) {
      if (events.push(event) === 1) await responses.cancel(event.response.id);
    }
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    const { type, response } = events.at(-1);
    assert.deepEqual([type, response.status], ['response.incomplete', 'cancelled']);
    assert.equal((await responses.cancel(response.id)).status, 'cancelled');
  }
  const stream = await chat.create({ ...SAID, messages: [{ role: 'user', content: ENDLESS.input }], stream: true });
  const reading = async () => {
    for await (const chunk of stream) await responses.cancel(chunk.id);
  };
  await assert.rejects(reading, (error) => error instanceof OpenAI.APIError && error.code === 'cancelled');
  const ended = await responses.create(GREET);
  assert.equal((await responses.cancel(ended.id)).status, 'completed');
});

test('a forgotten response is not there, however it is asked for', async (t) => {
  const connected = await connect(t);
  const { responses } = connected;
  const [{ response }] = await collect(await responses.create({ ...EVERYTHING, background: true, stream: true }));
  const running = await responses.create({ ...ENDLESS, background: true });
  const unstored = await responses.create({ ...GREET, store: false });
  for (const { id } of [response, running]) await responses.delete(id);
  for (const { id } of [response, running]) await rejects(OpenAI.NotFoundError, read(connected, id), { status: 404, code: 'not_found' });
  await rejects(OpenAI.NotFoundError, read(connected, unstored.id).slice(0, -1), { status: 404, code: 'not_found' });
  const after = { ...GREET, previous_response_id: response.id };
  await rejects(OpenAI.BadRequestError, created(connected, after), { code: 'previous_response_not_found' });
});
