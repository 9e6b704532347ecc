// Chat completions and models, as OpenAI's SDK for Node sees them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

import { serveModels } from './models.mjs';

const TOOLS = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }];

const said = (content, more = {}) => ({ model: 'scripted', messages: [{ role: 'user', content }], ...more });

async function connect(t) {
  const server = await serveModels(t);
  const client = new OpenAI({ baseURL: new URL('v1', server.url).href, apiKey: 'any', maxRetries: 0 });
  return { server, client, chat: client.chat.completions };
}

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');

test('an answer is the same whole, streamed, and put together by the helper', async (t) => {
  const { chat } = await connect(t);
  const text = 'Hello,\n👩‍🚀!';
  const whole = await chat.create(said('Greet me.'));
  assert.equal(whole.choices[0].message.content, text);
  assert.deepEqual(whole.usage, { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 });
  assert.match(whole._request_id, /^req_/);

  const chunks = await collect(await chat.create(said('Greet me.', { stream: true, stream_options: { include_usage: true } })));
  assert.equal(textOf(chunks), text);
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.equal(chunks.at(-2).choices[0].finish_reason, 'stop');
  assert.deepEqual([chunks.at(-1).choices, chunks.at(-1).usage.total_tokens], [[], 7]);

  const helped = await chat.stream(said('Greet me.')).finalChatCompletion();
  assert.equal(helped.choices[0].message.content, text);
});

test('tools are called, and their results answered, by the helper too', async (t) => {
  const { chat } = await connect(t);
  const question = said('How warm is it in Oslo?', { tools: TOOLS });
  const { message, finish_reason } = (await chat.create(question)).choices[0];
  assert.equal(finish_reason, 'tool_calls');
  assert.deepEqual(message.tool_calls, [{ id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } }]);
  const streamed = await chat.stream(question).finalChatCompletion();
  assert.equal(streamed.choices[0].message.tool_calls[0].function.arguments, '{"city":"Oslo"}');
  const result = { role: 'tool', tool_call_id: 'call_1', content: '7' };
  const answer = await chat.create({ ...question, messages: [...question.messages, message, result] });
  assert.equal(answer.choices[0].message.content, 'It is 7 degrees.');
});

test('what goes wrong has the class, the code and the name that the SDK knows', async (t) => {
  const { client, chat } = await connect(t);
  await assert.rejects(chat.create(said('Greet me.', { n: 2 })), (error) => error instanceof OpenAI.BadRequestError && error.param === 'n');
  await assert.rejects(chat.create(said('Greet me.', { model: 'gpt' })), (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
  await assert.rejects(client.models.retrieve('gpt'), OpenAI.NotFoundError);
  await assert.rejects(chat.create(said('Stumble.')), /it lost its thread/);
  const stumbling = await chat.create(said('Stumble.', { stream: true }));
  await assert.rejects(collect(stumbling), (error) => error instanceof OpenAI.APIError && error.code === 'rejected');
  const key = { headers: { 'Idempotency-Key': 'node-1' }, maxRetries: 2 };
  assert.deepEqual(await chat.create(said('Greet me.'), key), await chat.create(said('Greet me.'), key));
  await assert.rejects(chat.create(said('Think first.'), key), OpenAI.ConflictError);
});

test('models are listed and found', async (t) => {
  const { client } = await connect(t);
  assert.deepEqual((await client.models.list()).data.map((model) => model.id), ['scripted', 'plain']);
  assert.equal((await client.models.retrieve('plain')).owned_by, 'tokenwire');
});

test('a server that dies in mid-answer raises, and the answer goes on at /ask once it is back', async (t) => {
  const { server, chat } = await connect(t);
  const key = { headers: { 'Tokenwire-On-Disconnect': 'detach' } };
  const stream = await chat.create(said('Talk on.', { stream: true }), key);
  const seen = [];
  const reading = async () => {
    for await (const chunk of stream) {
      seen.push(chunk);
      if (seen.length === 5) await server.kill();
    }
  };
  await assert.rejects(reading());
  assert.ok(seen.every((chunk) => chunk.choices[0].finish_reason === null));
  await server.start();
  const whole = await server.text(seen[0].id.replace('chatcmpl-', ''));
  assert.ok(whole.startsWith(textOf(seen)), 'what was seen stays');
  assert.equal(whole.split(' ').length, 50, 'and the rest came');
});
