import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Recents } from '../recents.js';

class FakeStorage {
  #items = new Map();
  getItem = (key) => this.#items.get(key) ?? null;
  setItem = (key, value) => this.#items.set(key, value);
}

function withPrompts(count, storage = new FakeStorage()) {
  const recents = new Recents(storage);
  for (let n = 1; n <= count; n += 1) recents.add({ id: `id-${n}`, query: `prompt ${n}`, askedAt: n });
  return recents;
}

test('the newest prompt is first and the oldest make room', () => {
  const ids = withPrompts(25).list().map(({ id }) => id);
  assert.equal(ids.length, 20);
  assert.deepEqual([ids[0], ids[19]], ['id-25', 'id-6']);
});

test('what is learned later is kept with the prompt', () => {
  const recents = withPrompts(2);
  recents.update('id-1', { accepted: true, outcome: 'done' });
  recents.update('id-9', { outcome: 'done' });
  assert.deepEqual(recents.get('id-1'), { id: 'id-1', prompt: 'prompt 1', whole: true, askedAt: 1, accepted: true, outcome: 'done' });
  assert.equal(recents.get('id-9'), null);
});

test('a very long prompt is listed and not sent again', () => {
  const recents = withPrompts(0);
  recents.add({ id: 'long', query: 'x'.repeat(20_000), askedAt: 1 });
  assert.equal(recents.get('long').whole, false);
});

test('a list that was cleared is empty', () => {
  const recents = withPrompts(3);
  recents.clear();
  assert.deepEqual(recents.list(), []);
});

test('a browser without storage has an empty list and no errors', () => {
  const forbidden = {
    getItem: () => {
      throw new Error('SecurityError');
    },
    setItem: () => {
      throw new Error('QuotaExceededError');
    },
  };
  for (const storage of [null, forbidden]) assert.deepEqual(withPrompts(2, storage).list(), []);
});

test('a list that something else wrote is no list', () => {
  for (const stored of ['not json', '42', '[1, null, {"id": 5}]']) {
    const storage = new FakeStorage();
    storage.setItem('tokenwire.recents', stored);
    assert.deepEqual(new Recents(storage).list(), []);
  }
});
