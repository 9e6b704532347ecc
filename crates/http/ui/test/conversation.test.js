import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Conversation } from '../conversation.js';

/** A conversation of these prompts, each answered by these texts, with the way that each answer ended. */
function spoken(...turns) {
  const conversation = new Conversation();
  turns.forEach(([prompt, text, outcome = 'done'], at) => {
    const { turn } = conversation.ask(prompt, { now: at + 1 });
    if (text) turn.answer.apply({ type: 'text', text }, at + 1);
    turn.answer.apply({ type: 'ended', outcome }, at + 1);
  });
  return conversation;
}

const sent = (conversation, prompt, how = {}) => conversation.ask(prompt, { now: 9, ...how }).turn.request;

test('the first message is sent as a prompt, and with a system prompt as messages', () => {
  assert.deepEqual(sent(new Conversation(), 'Hello'), { query: 'Hello' });
  assert.deepEqual(sent(new Conversation(), 'Hello', { system: 'Be brief.' }), {
    messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello' }],
  });
});

test('a message goes with everything that was said before', () => {
  assert.deepEqual(sent(spoken(['One?', '1']), 'Two?', { system: ' ', model: 'm', options: { seed: 7 } }), {
    messages: [
      { role: 'user', content: 'One?' },
      { role: 'assistant', content: '1' },
      { role: 'user', content: 'Two?' },
    ],
    model: 'm',
    seed: 7,
  });
});

test('what was written of a stopped answer was said, and an answer without text was not', () => {
  const conversation = spoken(['a', 'half of', 'cancelled'], ['b', '', 'error']);
  assert.deepEqual(sent(conversation, 'c').messages.map(({ content }) => content), ['a', 'half of', 'b', 'c']);
});

test('an edit takes the place of its turn and of all that follow', () => {
  const conversation = spoken(['a', '1'], ['b', '2'], ['c', '3']);
  const { turn, replaced } = conversation.ask('B', { now: 9, index: 1 });
  assert.deepEqual(conversation.turns.map(({ prompt }) => prompt), ['a', 'B']);
  assert.deepEqual(replaced.map(({ prompt }) => prompt), ['b', 'c']);
  assert.deepEqual(turn.request.messages.map(({ content }) => content), ['a', '1', 'B']);
});

test('an edit of the first message is a prompt again', () => {
  assert.deepEqual(sent(spoken(['a', '1'], ['b', '2']), 'A', { index: 0 }), { query: 'A' });
});

test('what is kept comes back as it was, figures and all', () => {
  const conversation = spoken(['a', '1'], ['b', 'half', 'timeout']);
  const again = Conversation.recall(JSON.parse(JSON.stringify(conversation.kept())));
  assert.deepEqual(again.kept(), conversation.kept());
  assert.equal(again.active, false);
  assert.deepEqual(again.turns.map(({ answer }) => [answer.state, answer.text]), [['done', '1'], ['timeout', 'half']]);
});

test('an answer that was being written is read again, and one that may not have been sent is sent again', () => {
  const conversation = spoken(['a', '1']);
  const { turn } = conversation.ask('b', { now: 9 });
  const recall = () => Conversation.recall(JSON.parse(JSON.stringify(conversation.kept()))).last;
  assert.deepEqual(recall().request, turn.request);
  assert.equal(recall().answer.state, 'sending');
  turn.answer.apply({ type: 'text', text: 'some' }, 10);
  turn.request = null;
  assert.equal(recall().request, null);
  assert.equal(recall().answer.state, 'connecting');
  assert.equal(recall().answer.text, '', 'the server has it');
});

test('what something else wrote is no conversation', () => {
  const odd = [null, 42, {}, { id: 'a' }, { id: 'a', turns: [] }, { id: 'a', turns: [null] }, { id: 'a', turns: [{ id: 'b', prompt: 1 }] }];
  odd.push({ id: 'a', turns: [{ id: 'b', prompt: 'p' }] });
  odd.push({ id: 'a', turns: [{ id: 'b', prompt: 'p', answer: { phase: 'done', text: 5 } }] });
  for (const kept of odd) assert.equal(Conversation.recall(kept), null, JSON.stringify(kept));
});

test('an answer that was opened by a link cannot be continued', () => {
  const conversation = Conversation.ofLink('0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3');
  assert.equal(conversation.isOwn, false);
  assert.equal(conversation.title, 'Shared answer');
});
