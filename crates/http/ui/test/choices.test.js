import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Models } from '../models.js';
import { Settings } from '../settings.js';
import { FakeStorage, FORBIDDEN } from './storage.js';

const list = (...names) => async () => Response.json({ object: 'list', data: names.map((id, at) => ({ id, ...(at === 1 ? { default: true } : {}) })) });

async function offered(storage, fetch) {
  const models = new Models(storage, fetch);
  return { models, loaded: await models.load() };
}

test('the server’s default model is asked until another one is chosen, and that is remembered', async () => {
  const storage = new FakeStorage();
  const { models, loaded } = await offered(storage, list('a', 'b', 'c'));
  assert.equal(loaded, true);
  assert.deepEqual(models.names, ['a', 'b', 'c']);
  assert.equal(models.chosen, 'b');
  models.choose('c');
  assert.equal((await offered(storage, list('a', 'b', 'c'))).models.chosen, 'c');
  assert.equal((await offered(storage, list('a', 'b'))).models.chosen, 'b', 'it is no longer offered');
});

test('without a list the choice is left to the server', async () => {
  const answers = [
    async () => new Response('{"error":{}}', { status: 404 }),
    async () => new Response('<html>', { status: 502 }),
    async () => Response.json([]),
    async () => Promise.reject(new TypeError('network')),
  ];
  for (const fetch of answers) {
    const { models, loaded } = await offered(FORBIDDEN, fetch);
    assert.equal(loaded, false);
    assert.equal(models.chosen, null);
  }
});

test('a choice holds without storage', async () => {
  for (const storage of [null, FORBIDDEN]) {
    const { models } = await offered(storage, list('a', 'b'));
    models.choose('a');
    assert.equal(models.chosen, 'a');
  }
});

test('settings are remembered, and what is empty is not sent', () => {
  const storage = new FakeStorage();
  const settings = new Settings(storage);
  assert.deepEqual(settings.options, {});
  settings.set('temperature', '0');
  settings.set('maxTokens', ' 64 ');
  settings.set('system', 'Be brief.');
  const again = new Settings(storage);
  assert.deepEqual(again.options, { temperature: 0, max_tokens: 64 });
  assert.equal(again.system, 'Be brief.');
  assert.equal(again.count, 3);
  again.set('temperature', '');
  assert.deepEqual(new Settings(storage).options, { max_tokens: 64 });
});

test('settings that something else wrote are none', () => {
  for (const stored of ['not json', 'null', '[]', '{"temperature": 5, "seed": {}}']) {
    const storage = new FakeStorage();
    storage.setItem('tokenwire.settings', stored);
    assert.deepEqual(new Settings(storage).options, {});
  }
  for (const storage of [null, FORBIDDEN]) assert.equal(new Settings(storage).count, 0);
});
