// The streaming helper of OpenAI's SDK for Node, for a response that is there: it reads all of it, and shows a part.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { collect, connect, ENDLESS, EVERYTHING, planned, whole } from './cutting.mjs';

test('the helper shows any part of an ended response, and puts all of it together', async (t) => {
  const connected = await connect(t);
  const { responses } = connected.direct;
  const first = await responses.stream(EVERYTHING).finalResponse();
  const uncut = await whole(connected, first.id);
  for (const starting_after of [0, 1, 4, 20, uncut.length - 2]) {
    const runner = responses.stream({ response_id: first.id, starting_after });
    assert.deepEqual(await collect(runner), uncut.slice(starting_after + 1));
    assert.deepEqual((await runner.finalResponse()).output, first.output);
  }
});

test('the helper follows a running response to its end', async (t) => {
  const connected = await connect(t);
  const { responses } = connected.direct;
  for (const starting_after of [1, 6]) {
    let id;
    for await (const event of await responses.create({ ...ENDLESS, background: true, stream: true })) {
      id ??= event.response.id;
      if (event.sequence_number === 8) break;
    }
    const runner = responses.stream({ response_id: id, starting_after });
    const events = [];
    for await (const event of runner) if (events.push(event) === 1) await responses.cancel(id);
    assert.deepEqual(events, (await whole(connected, id)).slice(starting_after + 1));
    const { status, output_text } = await responses.retrieve(id);
    assert.deepEqual([status, output_text], ['cancelled', 'Once upon a time']);
  }
});

test('the helper raises at a cut, while a response is made and while it is replayed', async (t) => {
  const connected = await connect(t);
  const { responses } = connected.proxied;
  const create = responses.stream({ ...EVERYTHING, background: true }, planned('hold 7'));
  const seen = [];
  const told = [];
  const reading = async (runner, events, every) => {
    for await (const event of runner) if (events.push(event) === every) await connected.proxy.cut();
  };
  await assert.rejects(reading(create, seen, 7));
  await assert.rejects(create.finalResponse());
  const { id } = seen[0].response;
  const uncut = await whole(connected, id);
  assert.deepEqual(seen, uncut.slice(0, 7));
  const replay = responses.stream({ response_id: id, starting_after: 2 }, planned('hold 7+40'));
  await assert.rejects(reading(replay, told, 4));
  await assert.rejects(replay.finalResponse());
  assert.deepEqual(told, uncut.slice(3, 7));
});
