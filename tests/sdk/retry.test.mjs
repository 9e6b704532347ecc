// A call that is lost on its way there or back and repeated by OpenAI's SDKs: one generation, if the call has a key.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import OpenAI from 'openai';

import { freePort } from '../browser/server.mjs';
import { collect, EVERYTHING } from './cutting.mjs';
import { serveModels } from './models.mjs';
import { proxyOf } from './proxy.mjs';
import { passes } from './python.mjs';

const GREETING = 'Hello,\n👩‍🚀!';
const ASKED = { model: 'scripted', input: 'Greet me.' };
const SAID = { model: 'scripted', messages: [{ role: 'user', content: 'Greet me.' }] };

async function connect(t) {
  const metrics = `127.0.0.1:${await freePort()}`;
  const server = await serveModels(t, ['--metrics-listen', metrics]);
  const proxy = await proxyOf(t, server);
  const client = new OpenAI({ baseURL: new URL('v1', proxy.url).href, apiKey: 'any', maxRetries: 2 });
  return { server, proxy, client, metrics: `http://${metrics}/metrics` };
}

/** How many generations the server has begun, as it tells its operator. */
async function accepted({ metrics }) {
  const lines = (await (await fetch(metrics)).text()).split('\n');
  const counts = lines.filter((line) => line.startsWith('tokenwire_generations_accepted_total{')).map((line) => Number(line.split(' ').at(-1)));
  return counts.reduce((sum, count) => sum + count, 0);
}

async function lastOf(stream) {
  const events = await collect(stream);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  return events.at(-1).response;
}

/** Every way to ask, and what the answer says. */
const WAYS = {
  response: async (client, headers) => (await client.responses.create(ASKED, { headers })).output_text,
  events: async (client, headers) => (await lastOf(await client.responses.create({ ...ASKED, stream: true }, { headers }))).output[0].content[0].text,
  'events in the background': async (client, headers) => (await lastOf(await client.responses.create({ ...EVERYTHING, background: true, stream: true }, { headers }))).status,
  completion: async (client, headers) => (await client.chat.completions.create(SAID, { headers })).choices[0].message.content,
  chunks: async (client, headers) => {
    const chunks = await collect(await client.chat.completions.create({ ...SAID, stream: true }, { headers }));
    return chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
  },
};

test('the Python SDK: lost calls', async (t) => {
  const { server, proxy, metrics } = await connect(t);
  await passes(['retry'], server, { TOKENWIRE_PROXY: proxy.url, TOKENWIRE_METRICS: metrics });
});

test('a repeated call has a whole answer, and one generation if it has a key', async (t) => {
  const connected = await connect(t);
  for (const [kind, ask] of Object.entries(WAYS)) {
    for (const plan of ['refuse', 'swallow', 'lose']) {
      for (const keyed of [true, false]) {
        const what = `${kind}, ${plan}, ${keyed ? 'with a key' : 'without a key'}`;
        const name = randomUUID();
        const key = keyed ? { 'Idempotency-Key': name } : {};
        const before = await accepted(connected);
        const said = await ask(connected.client, { 'Proxy-Plan': plan, 'Proxy-Call': name, ...key });
        assert.ok([GREETING, 'completed'].includes(said), what);
        assert.equal(connected.proxy.calls(name), 2, what);
        assert.equal((await accepted(connected)) - before, keyed || plan === 'refuse' ? 1 : 2, what);
      }
    }
  }
});

test('what can have no other answer is asked for once', async (t) => {
  const connected = await connect(t);
  const { client, proxy } = connected;
  const key = { 'Idempotency-Key': randomUUID() };
  await client.responses.create(ASKED, { headers: key });
  await client.chat.completions.create(SAID, { headers: key });
  const before = await accepted(connected);
  const others = [
    (more, headers) => client.responses.create({ ...ASKED, input: 'Think first.', ...more }, { headers }),
    (more, headers) => client.chat.completions.create({ ...SAID, model: 'plain', ...more }, { headers }),
  ];
  for (const other of others) {
    for (const stream of [false, true]) {
      const name = randomUUID();
      const refused = (error) => error instanceof OpenAI.ConflictError && error.headers.get('x-should-retry') === 'false';
      await assert.rejects(other({ stream }, { 'Proxy-Call': name, ...key }), refused);
      assert.equal(proxy.calls(name), 1);
    }
  }
  assert.equal(await accepted(connected), before);
});

test('without retries the loss is raised', async (t) => {
  const { client } = await connect(t);
  for (const [plan, error] of [['refuse', OpenAI.InternalServerError], ['swallow', OpenAI.InternalServerError], ['lose', OpenAI.APIConnectionError]]) {
    for (const stream of [false, true]) {
      const headers = { 'Proxy-Plan': plan };
      await assert.rejects(client.responses.create({ ...ASKED, stream }, { headers, maxRetries: 0 }), error);
    }
  }
});
