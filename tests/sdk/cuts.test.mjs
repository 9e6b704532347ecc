// Connections that are cut again and again, as OpenAI's SDKs see them: every event comes, once, to the very last.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { collect, connect, ENDLESS, EVERYTHING, planned, read, resume, whole } from './cutting.mjs';
import { passes } from './python.mjs';

const BEHIND = { ...EVERYTHING, background: true, stream: true };

test('the Python SDK: cuts, and what the helper replays', async (t) => {
  const { server, proxy } = await connect(t);
  await passes(['cuts', 'chatcuts', 'replay'], server, { TOKENWIRE_PROXY: proxy.url });
});

test('an ended response is read whole', async (t) => {
  const connected = await connect(t);
  const [{ response }] = await collect(await connected.direct.responses.create(BEHIND));
  const uncut = await whole(connected, response.id);
  assert.equal(uncut.at(-1).type, 'response.completed');
  for (const every of [1, 2, 3, 7, uncut.length - 1, uncut.length, uncut.length + 1]) {
    for (const more of every < 3 ? ['+40'] : ['', '+1', '+40', '+999999']) {
      const events = [];
      const cuts = await resume(connected, events, response.id, every, more);
      assert.deepEqual(events, uncut, `every ${every}${more}`);
      assert.equal(cuts, Math.floor(uncut.length / every));
    }
  }
});

test('a running response is read whole', async (t) => {
  const connected = await connect(t);
  for (const every of [1, 2, 3, 7, 19]) {
    const more = ['', '+1', '+40', '+999999'][every % 4];
    const events = [];
    const stream = await connected.proxied.responses.create(BEHIND, planned(`hold ${every}${more}`));
    assert.equal(await read(connected, events, stream, every), false);
    const { id } = events[0].response;
    const cuts = 1 + (await resume(connected, events, id, every, more));
    const uncut = await whole(connected, id);
    assert.deepEqual(events, uncut, `every ${every}${more}`);
    assert.equal(cuts, Math.floor(uncut.length / every));
    assert.equal((await connected.direct.responses.retrieve(id)).status, 'completed');
  }
});

test('resets that come at any moment lose nothing and repeat nothing', async (t) => {
  const connected = await connect(t);
  const { proxied } = connected;
  const [{ response }] = await collect(await connected.direct.responses.create(BEHIND));
  const uncut = await whole(connected, response.id);
  const events = [];
  // How much of what has come a reader in Node still sees is its own affair: longer and longer pieces make an end certain.
  for (let every = 1; ; every += 1) {
    const after = events.length > 0 ? { starting_after: events.at(-1).sequence_number } : {};
    const before = events.length;
    const reading = async () => {
      for await (const event of await proxied.responses.retrieve(response.id, { stream: true, ...after }, planned(`reset ${every}+40`))) events.push(event);
    };
    if (await reading().then(() => true, () => false)) break;
    assert.ok(events.length - before <= every);
  }
  assert.deepEqual(events, uncut);
});

test('a response that was still queued is read whole', async (t) => {
  const connected = await connect(t);
  const { proxied, direct } = connected;
  let running;
  for await (const event of await direct.responses.create({ ...ENDLESS, background: true, stream: true })) {
    running = event.response.id;
    if (event.type === 'response.in_progress') break;
  }
  const events = [];
  assert.equal(await read(connected, events, await proxied.responses.create(BEHIND, planned('hold 2')), 2), false);
  assert.deepEqual(events.map((event) => event.type), ['response.created', 'response.queued']);
  const { id } = events[0].response;
  assert.equal((await direct.responses.retrieve(id)).status, 'queued');
  const waiting = await proxied.responses.retrieve(id, { stream: true, starting_after: 1 }, planned('hold 3+40'));
  await direct.responses.cancel(running);
  assert.equal(await read(connected, events, waiting, 3), false);
  await resume(connected, events, id, 5);
  assert.deepEqual(events, await whole(connected, id));
});
