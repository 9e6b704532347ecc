import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Conversation } from '../conversation.js';
import { Conversations } from '../conversations.js';
import { FakeStorage, FORBIDDEN } from './storage.js';

function conversation(prompt, askedAt, text = '') {
  const made = new Conversation();
  const { turn } = made.ask(prompt, { now: askedAt });
  turn.answer.apply({ type: 'text', text }, askedAt);
  turn.answer.apply({ type: 'ended', outcome: 'done' }, askedAt);
  return made;
}

const titles = (conversations) => conversations.list().map(({ title }) => title);

test('the conversation that was last asked something is first', () => {
  const conversations = new Conversations(new FakeStorage());
  const [first, second] = [conversation('first', 1), conversation('second', 2)];
  for (const one of [first, second]) assert.equal(conversations.put(one), true);
  assert.deepEqual(titles(conversations), ['second', 'first']);
  first.ask('more', { now: 3 });
  conversations.put(first);
  assert.deepEqual(titles(conversations), ['first', 'second']);
  assert.equal(conversations.list()[0].state, 'streaming');
});

test('a conversation is found by each of its answers', () => {
  const conversations = new Conversations(new FakeStorage());
  const kept = conversation('first', 1);
  kept.ask('more', { now: 2 });
  conversations.put(kept);
  for (const { id } of kept.turns) assert.deepEqual(conversations.with(id).kept(), kept.kept());
  assert.equal(conversations.with('another'), null);
});

test('the oldest conversations make room, and leave nothing behind', () => {
  const storage = new FakeStorage();
  const conversations = new Conversations(storage);
  for (let at = 1; at <= 102; at += 1) conversations.put(conversation(`prompt ${at}`, at));
  assert.equal(titles(conversations).length, 100);
  assert.equal(titles(conversations).at(-1), 'prompt 3');
  assert.equal(storage.keys.length, 101);
});

test('in a full storage the oldest make room for the newest', () => {
  const conversations = new Conversations(new FakeStorage(10_000));
  for (let at = 1; at <= 5; at += 1) assert.equal(conversations.put(conversation(`prompt ${at}`, at, 'x'.repeat(2_500))), true);
  assert.deepEqual(titles(conversations), ['prompt 5', 'prompt 4', 'prompt 3']);
});

test('a conversation that cannot be kept costs none of the others', () => {
  const conversations = new Conversations(new FakeStorage(10_000));
  const kept = [conversation('one', 1, 'x'.repeat(2_000)), conversation('two', 2, 'x'.repeat(2_000))];
  for (const one of kept) conversations.put(one);
  assert.equal(conversations.put(conversation('huge', 3, 'x'.repeat(20_000))), false);
  assert.deepEqual(titles(conversations), ['two', 'one']);
  for (const one of kept) assert.deepEqual(conversations.with(one.last.id).kept(), one.kept());
});

test('what is learned of a turn does not bring back what another tab has replaced or removed', () => {
  const storage = new FakeStorage();
  const [here, there] = [new Conversations(storage), new Conversations(storage)];
  const ours = conversation('a', 1);
  here.put(ours);
  const theirs = there.with(ours.last.id);
  theirs.ask('A', { now: 2, index: 0 });
  there.put(theirs);
  assert.equal(here.learn(ours, ours.last), true);
  assert.deepEqual(titles(here), ['A']);
  there.remove(theirs.id);
  here.learn(ours, ours.last);
  assert.deepEqual(titles(here), []);
});

test('a conversation that is removed leaves nothing behind', () => {
  const storage = new FakeStorage();
  const conversations = new Conversations(storage);
  const kept = conversation('a', 1);
  conversations.put(kept);
  conversations.remove(kept.id);
  assert.deepEqual(conversations.list(), []);
  assert.deepEqual(storage.keys, ['tokenwire.conversations']);
});

test('a browser without storage has an empty list and no errors', () => {
  for (const storage of [null, FORBIDDEN]) {
    const conversations = new Conversations(storage);
    const kept = conversation('a', 1);
    assert.equal(conversations.put(kept), false);
    conversations.learn(kept, kept.last);
    conversations.remove(kept.id);
    assert.deepEqual(conversations.list(), []);
    assert.equal(conversations.with(kept.last.id), null);
  }
});

test('a list that something else wrote is no list', () => {
  for (const stored of ['not json', '42', '[1, null, {"id": 5}, {"id": "a", "title": "t"}]']) {
    const storage = new FakeStorage();
    storage.setItem('tokenwire.conversations', stored);
    assert.deepEqual(new Conversations(storage).list(), []);
  }
});

test('a conversation that something broke is not found, and nothing fails', () => {
  const storage = new FakeStorage();
  const conversations = new Conversations(storage);
  const kept = conversation('a', 1);
  conversations.put(kept);
  storage.setItem(`tokenwire.conversation.${kept.id}`, '{"id":');
  assert.equal(conversations.with(kept.last.id), null);
});
