// Responses, as OpenAI's SDKs see them: stored, numbered, and resumed after the server has died.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';

import OpenAI from 'openai';

import { serveModels } from './models.mjs';
import { python } from './python.mjs';

test('the Python SDK resumes a response after the server has died', async (t) => {
  const server = await serveModels(t);
  const child = python(['resume'], server);
  const exited = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), exited]);
  await server.kill();
  await server.start();
  child.stdin.end('again\n');
  const [code] = await exited;
  assert.equal(code, 0);
});

async function connect(t) {
  const server = await serveModels(t);
  const client = new OpenAI({ baseURL: new URL('v1', server.url).href, apiKey: 'any', maxRetries: 0 });
  return { server, responses: client.responses };
}

test('the Node SDK resumes a response after the server has died', async (t) => {
  const { server, responses } = await connect(t);
  const events = [];
  const read = async (stream) => {
    for await (const event of stream) if (events.push(event) === 8) await server.kill();
  };
  await assert.rejects(async () => read(await responses.create({ model: 'scripted', input: 'Talk on.', background: true, stream: true })));
  await server.start();
  const { id } = events[0].response;
  await read(await responses.retrieve(id, { stream: true, starting_after: events.at(-1).sequence_number }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(events.at(-1).type, 'response.completed');
  const deltas = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);
  const whole = await responses.retrieve(id);
  assert.equal(deltas.join(''), whole.output_text);
  assert.equal(whole.status, 'completed');
});

test('the Node SDK stops and forgets a response, and finds it no more', async (t) => {
  const { responses } = await connect(t);
  const { id } = await responses.create({ model: 'scripted', input: 'Talk on.', background: true });
  assert.equal((await responses.cancel(id)).status, 'cancelled');
  await responses.delete(id);
  await assert.rejects(responses.retrieve(id), OpenAI.NotFoundError);
});

test('the streaming helper of the Node SDK puts a response together', async (t) => {
  const { responses } = await connect(t);
  const final = await responses.stream({ model: 'scripted', input: 'Think first.' }).finalResponse();
  assert.equal(final.output_text, 'Yes.');
  const replayed = await responses.stream({ response_id: final.id }).finalResponse();
  assert.equal(replayed.output_text, 'Yes.');
  const stream = responses.stream({ model: 'scripted', input: 'Think first.', reasoning: { summary: 'auto' } });
  const thought = [];
  stream.on('response.reasoning_summary_text.delta', ({ delta }) => thought.push(delta));
  const [{ summary, content }] = (await stream.finalResponse()).output;
  assert.deepEqual([summary, content], [[{ type: 'summary_text', text: thought.join('') }], []]);
  assert.equal(thought.join(''), 'Let me see.');
});
