import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Answer } from '../answer.js';

/** An answer that was told these events, each at its time in milliseconds after it was asked. */
function told(events, known = { phase: 'sending', askedAt: 0 }) {
  const answer = new Answer(known);
  for (const [at, event] of events) answer.apply(typeof event === 'string' ? { type: event } : event, at);
  return answer;
}

const TEXT = { type: 'text', text: 'a' };
const CONNECTED = [[10, 'accepted'], [10, 'connected'], [10, 'caught-up'], [20, 'queued']];
const STARTED = [...CONNECTED, [100, { type: 'started', attempt: 1, region: 'EAST-1' }]];
const LOST = { type: 'waiting', cause: 'lost', until: 5_000 };

test('the states follow what happens', () => {
  const ended = (outcome) => ({ type: 'ended', outcome });
  const cases = [
    [[], 'Sending'],
    [CONNECTED, 'Queued'],
    [STARTED, 'Streaming'],
    [[...STARTED, [200, LOST]], 'Reconnecting'],
    [[...STARTED, [200, LOST], [300, 'connected']], 'Streaming'],
    [[...STARTED, [200, 'stopping']], 'Stopping'],
    [[...STARTED, [200, 'stopping'], [300, { type: 'unstoppable', message: 'no' }]], 'Streaming'],
    [[...STARTED, [200, ended('done')]], 'Done'],
    [[...STARTED, [200, ended('cancelled')]], 'Cancelled'],
    [[...STARTED, [200, ended('timeout')]], 'Timed out'],
    [[...STARTED, [200, ended('error')]], 'Failed'],
    [[...CONNECTED, [200, ended('expired')]], 'Expired'],
    [[[10, 'gone']], 'Gone'],
  ];
  for (const [events, label] of cases) assert.equal(told(events).label, label);
});

test('a model that is waited for is named until something comes', () => {
  const waits = [...STARTED, [200, { type: 'waiting_for_model', until: 9_000 }]];
  assert.match(told(waits).notice(300), /model is busy or cannot be reached/);
  assert.equal(told([...waits, [500, TEXT]]).notice(600), null);
  assert.equal(told([...waits, [500, { type: 'ended', outcome: 'done' }]]).notice(600), null);
});

test('figures are those of what was seen live', () => {
  const answer = told([...STARTED, [500, TEXT], [600, TEXT], [700, TEXT]]);
  assert.deepEqual(answer.figures(700), { first: '500 ms', pieces: '3', rate: '10 /s', elapsed: '700 ms' });
});

test('the figures of an ended answer stand still', () => {
  const answer = told([...STARTED, [500, TEXT], [1_500, TEXT], [2_500, TEXT], [2_500, { type: 'ended', outcome: 'done' }]]);
  assert.deepEqual(answer.figures(99_000), { first: '500 ms', pieces: '3', rate: '1.0 /s', elapsed: '2.5 s' });
});

test('a backlog counts as deltas and has no timing', () => {
  const answer = told(
    [[5_000, 'connected'], [5_010, TEXT], [5_010, TEXT], [5_020, { type: 'ended', outcome: 'done' }]],
    { askedAt: 0 },
  );
  assert.deepEqual(answer.figures(9_000), { first: null, pieces: '2', rate: null, elapsed: null });
});

test('figures that this device knows survive a reload', () => {
  const answer = told(
    [[5_000, 'connected'], [5_010, TEXT], [5_010, TEXT], [5_020, { type: 'ended', outcome: 'done' }]],
    { askedAt: 0, firstAt: 400, endedAt: 1_400 },
  );
  assert.deepEqual(answer.figures(9_000), { first: '400 ms', pieces: '2', rate: '1.0 /s', elapsed: '1.4 s' });
});

test('a pause in the connection does not count into the rate', () => {
  const answer = told([...STARTED, [500, TEXT], [600, LOST], [3_000, 'connected'], [3_000, TEXT], [3_100, 'caught-up'], [3_200, TEXT]]);
  assert.equal(answer.figures(3_200).rate, null);
  answer.apply(TEXT, 3_300);
  assert.equal(answer.figures(3_300).rate, '10 /s');
});

test('a rewind resets the count of deltas and says so', () => {
  const answer = told([...STARTED, [500, TEXT], [600, { type: 'rewind', attempt: 2, region: 'WEST-1' }]]);
  assert.equal(answer.figures(600).pieces, '0');
  assert.equal(answer.region, 'WEST-1');
  assert.match(answer.notice(600), /start over/);
});

test('a notice says what happens next', () => {
  const notice = (events, now = 3_000) => told(events).notice(now)?.replaceAll('\u00a0', ' ');
  const end = (outcome, more) => [[900, { type: 'ended', outcome, ...more }]];
  const busy = { type: 'waiting', cause: 'unavailable', message: 'prompts cannot be accepted now', until: 5_000 };
  assert.equal(notice([...STARTED, [900, LOST]]), 'The connection is lost. Trying again in 2 s. The answer goes on where it was.');
  assert.equal(notice([...STARTED, [900, LOST]], 5_000), 'The connection is lost. Trying again… The answer goes on where it was.');
  assert.equal(notice([[900, busy]]), 'Prompts cannot be accepted now. Trying again in 2 s.');
  assert.equal(notice([...STARTED, [900, { type: 'unstoppable', message: 'not yours' }]]), 'It could not be stopped. Not yours.');
  assert.equal(notice(CONNECTED), 'Waiting for a free worker.');
  assert.equal(notice([...STARTED, [800, TEXT], ...end('cancelled')]), 'It was stopped here. The text so far is kept.');
  assert.equal(notice([...STARTED, ...end('cancelled', { cause: 'abandoned' })]), 'It was stopped because nobody was reading it.');
  assert.equal(notice([...STARTED, ...end('error', { message: 'context is full' })]), 'Context is full.');
  assert.equal(notice([...STARTED, ...end('done', { finish_reason: 'stop' })]), undefined);
});

test('thoughts and tools are kept apart from the text, and a rewind takes them all back', () => {
  const answer = told([
    ...STARTED,
    [200, { type: 'reasoning', text: 'Let me ' }],
    [300, { type: 'reasoning', text: 'see.' }],
    [400, TEXT],
    [500, { type: 'tool_call', index: 1, id: 'call_9', name: 'weather', arguments: '{"in"' }],
    [600, { type: 'tool_call', index: 1, arguments: ':"Paris"}' }],
    [700, { type: 'tool_call', arguments: 'of a broken server' }],
  ]);
  assert.equal(answer.reasoning, 'Let me see.');
  assert.equal(answer.text, 'a');
  assert.deepEqual(answer.toolCalls, [{ index: 1, name: 'weather', arguments: '{"in":"Paris"}' }]);
  answer.apply({ type: 'rewind', attempt: 2 }, 800);
  assert.deepEqual([answer.text, answer.reasoning, answer.toolCalls], ['', '', []]);
});

test('why an answer ended is said when it is not complete', () => {
  const notice = (finish_reason) => told([...STARTED, [200, { type: 'ended', outcome: 'done', finish_reason }]]).notice(300);
  assert.equal(notice('stop'), null);
  for (const reason of ['length', 'tool_calls', 'content_filter']) assert.match(notice(reason), /\.$/);
});

test('what this device had of an answer is shown when the server no longer has it, and only then', () => {
  const answer = told([...STARTED, [500, TEXT], [600, TEXT]]);
  const again = () => Answer.recall(JSON.parse(JSON.stringify(answer.kept())));
  const gone = again();
  gone.apply({ type: 'gone' }, 9_000);
  assert.equal(gone.text, 'aa');
  assert.match(gone.notice(9_000), /what this browser had/);
  const there = again();
  assert.equal(there.text, '');
  assert.deepEqual(there.kept(), answer.kept());
  there.apply(TEXT, 9_000);
  assert.equal(there.text, 'a');
});
