import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AnswerStream, SILENCE } from '../stream.js';
import { FakeClock, FakeServer, gateway, refusal, settle, wire } from './server.js';

const ID = '0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3';
const DONE = 'event: done\nid: 9\ndata:{"finish_reason":"stop","usage":{"input_tokens":1,"output_tokens":2}}\n\n';

/** A reader of `server`, and what it was told. */
function reader(server, { request = { query: 'Hello' } } = {}) {
  const clock = new FakeClock();
  const told = [];
  const stream = new AnswerStream({ id: ID, request, on: (event) => told.push(event), fetch: server.fetch, clock, random: () => 1 });
  return {
    clock,
    stream,
    told,
    running: stream.run(),
    text: () => told.filter(({ type }) => type === 'text').map(({ text }) => text).join(''),
    types: () => told.map(({ type }) => type),
    last: () => told.at(-1),
  };
}

function methods(server) {
  return server.requests.map(({ method, url }) => `${method} ${url}`);
}

test('a prompt is posted with its own id and the answer arrives', async () => {
  const first = wire();
  const server = new FakeServer(first);
  const { running, text, told, types } = reader(server);
  first.send('retry: 1000\n\nevent: queued\ndata:{"uuid":"x"}\n\nevent: started\nid: 1\ndata:{"attempt":1,"region":"EAST-1"}\n\n');
  first.send('id: 2\ndata: Hello\n\nid: 3\ndata:  world\n\n');
  first.send(DONE);
  await running;
  assert.deepEqual(JSON.parse(server.requests[0].body), { query: 'Hello', uuid: ID });
  assert.equal(text(), 'Hello world');
  assert.deepEqual(types(), ['connecting', 'accepted', 'connected', 'caught-up', 'queued', 'started', 'text', 'text', 'ended']);
  assert.equal(told.at(-1).outcome, 'done');
  assert.equal(told.at(-1).usage.output_tokens, 2);
  assert.equal(told[5].region, 'EAST-1');
});

test('a post that was cut before a response is posted again, the same', async () => {
  const second = wire();
  const server = new FakeServer(new TypeError('network'), gateway(502), second);
  const { clock, running } = reader(server);
  await clock.advance(10_000);
  second.send(DONE);
  await running;
  assert.deepEqual(methods(server), ['POST /ask', 'POST /ask', 'POST /ask']);
  assert.equal(new Set(server.requests.map(({ body }) => body)).size, 1);
});

test('a broken stream is resumed from the cursor and no delta is lost or repeated', async () => {
  const wires = [wire(), wire(), wire()];
  const server = new FakeServer(...wires);
  const { clock, running, text } = reader(server);
  wires[0].send('id: 2\ndata: a\n\nid: 3\ndata: b\n\nid: 4\nda');
  await settle();
  wires[0].end();
  await clock.advance(5_000);
  wires[1].send('id: 3\ndata: b\n\nid: 4\ndata: c\n\n');
  await settle();
  wires[1].fail();
  await clock.advance(5_000);
  wires[2].send(`id: 5\ndata: d\n\n${DONE}`);
  await running;
  assert.equal(text(), 'abcd');
  assert.deepEqual(methods(server), ['POST /ask', `GET /ask/${ID}`, `GET /ask/${ID}`]);
  assert.deepEqual(server.requests.map(({ headers }) => headers['last-event-id']), [undefined, '3', '4']);
});

test('a body that ends without a last word is a broken connection', async () => {
  const wires = [wire(), wire()];
  const { clock, last, running } = reader(new FakeServer(...wires));
  wires[0].send('id: 2\ndata: a\n\n');
  wires[0].end();
  await settle();
  assert.equal(last().type, 'waiting');
  assert.equal(last().cause, 'lost');
  await clock.advance(5_000);
  wires[1].send(DONE);
  await running;
  assert.equal(last().outcome, 'done');
});

test('no event follows the last one', async () => {
  const first = wire();
  const { last, running, text } = reader(new FakeServer(first));
  first.send(`${DONE}id: 10\ndata: late\n\n`);
  await running;
  assert.equal(text(), '');
  assert.equal(last().type, 'ended');
});

test('pauses grow to three seconds and begin anew after a connection', async () => {
  const open = wire();
  const broken = Array.from({ length: 4 }, () => new TypeError('network'));
  const { clock, stream, told } = reader(new FakeServer(...broken, open));
  const pauses = [];
  for (let tries = 0; tries < 4; tries += 1) {
    await settle();
    pauses.push(told.at(-1).until - clock.now());
    await clock.advance(pauses.at(-1));
  }
  open.fail();
  await settle();
  pauses.push(told.at(-1).until - clock.now());
  assert.deepEqual(pauses, [1_000, 2_000, 3_000, 3_000, 1_000]);
  stream.close();
});

test('a server that is not ready says when to come back, and is believed', async () => {
  const open = wire();
  const server = new FakeServer(refusal(503, 'prompts cannot be accepted now', { 'retry-after': '7' }), open);
  const { clock, last, running } = reader(server);
  await settle();
  assert.deepEqual(last(), {
    type: 'waiting',
    cause: 'unavailable',
    message: 'prompts cannot be accepted now',
    until: clock.now() + 7_000,
  });
  await clock.advance(6_900);
  assert.equal(server.requests.length, 1);
  await clock.advance(200);
  assert.equal(server.requests.length, 2);
  open.send(DONE);
  await running;
});

test('a prompt that the server refuses is not sent again', async () => {
  const server = new FakeServer(refusal(413, 'the prompt is too long'));
  const { last, running } = reader(server);
  await running;
  assert.deepEqual(last(), { type: 'refused', status: 413, message: 'the prompt is too long' });
  assert.equal(server.requests.length, 1);
});

test('a removed answer is reported as gone', async () => {
  const { last, running } = reader(new FakeServer(refusal(404, 'there is no generation')), { request: null });
  await running;
  assert.equal(last().type, 'gone');
});

test('a stream that was read to its end has ended', async () => {
  const { last, running } = reader(new FakeServer(() => new Response(null, { status: 204 })), { request: null });
  await running;
  assert.deepEqual(last(), { type: 'ended', outcome: 'done' });
});

test('a server that lost the end of its log is read again from the start', async () => {
  const wires = [wire(), wire()];
  const server = new FakeServer(wires[0], refusal(400, 'the cursor lies behind the end'), wires[1]);
  const { clock, running, types } = reader(server);
  wires[0].send('id: 7\ndata: a\n\n');
  await settle();
  wires[0].fail();
  await clock.advance(10_000);
  assert.ok(types().includes('rewind'));
  assert.equal(server.requests[2].headers['last-event-id'], undefined);
  wires[1].send(DONE);
  await running;
});

test('a connection that is silent for too long is given up; heartbeats keep it', async () => {
  const wires = [wire(), wire()];
  const server = new FakeServer(...wires);
  const { clock, stream, told } = reader(server);
  for (let beat = 0; beat < 6; beat += 1) {
    await clock.advance(10_000);
    wires[0].send(': heartbeat\n\n');
    await settle();
  }
  assert.equal(server.requests.length, 1);
  await clock.advance(SILENCE - 100);
  assert.equal(server.requests.length, 1);
  await clock.advance(200);
  assert.equal(told.at(-1).cause, 'silent');
  await clock.advance(1_000);
  assert.equal(server.requests.length, 2);
  stream.close();
});

test('a network that is back ends the pause at once', async () => {
  const open = wire();
  const server = new FakeServer(new TypeError('network'), open);
  const { running, stream } = reader(server);
  await settle();
  stream.wake();
  await settle();
  assert.equal(server.requests.length, 2);
  open.send(DONE);
  await running;
});

test('waking up does not disturb a connection that lives', async () => {
  const open = wire();
  const server = new FakeServer(open);
  const { clock, running, stream } = reader(server);
  await clock.advance(9_000);
  stream.wake();
  open.send(DONE);
  await running;
  assert.equal(server.requests.length, 1);
});

test('waking up after a missed heartbeat does not trust the old connection', async () => {
  const wires = [wire(), wire()];
  const server = new FakeServer(...wires);
  const { clock, running, stream } = reader(server);
  await clock.advance(16_000);
  stream.wake();
  await clock.advance(1_000);
  assert.equal(server.requests.length, 2);
  wires[1].send(DONE);
  await running;
});

test('a stop is a delete, repeated until the server has heard, and the stream has the last word', async () => {
  const open = wire();
  const server = new FakeServer(open, new TypeError('network'), () => new Response(null, { status: 202 }));
  const { clock, last, running, stream, told } = reader(server);
  open.send('id: 2\ndata: a\n\n');
  await settle();
  stream.stop();
  stream.stop();
  await clock.advance(1_500);
  assert.deepEqual(methods(server), ['POST /ask', `DELETE /ask/${ID}`, `DELETE /ask/${ID}`]);
  assert.equal(told.filter(({ type }) => type === 'stopping').length, 1);
  open.send('event: cancelled\nid: 3\ndata:{"type":"cancelled","message":"stopped on request","cause":"requested"}\n\n');
  await running;
  assert.equal(last().outcome, 'cancelled');
});

test('a prompt that no server took can be stopped, and is not sent again', async () => {
  const server = new FakeServer(new TypeError('network'), new TypeError('network'));
  const { clock, last, running, stream } = reader(server);
  await settle();
  stream.stop();
  await running;
  await clock.advance(60_000);
  assert.deepEqual(last(), { type: 'ended', outcome: 'cancelled', unsent: true });
  assert.deepEqual(methods(server), ['POST /ask', `DELETE /ask/${ID}`]);
});

test('a backlog is distinguished from live deltas', async () => {
  const open = wire();
  const { clock, running, types } = reader(new FakeServer(open), { request: null });
  open.send('id: 2\ndata: a\n\n');
  await clock.advance(50);
  open.send('id: 3\ndata: b\n\n');
  await clock.advance(100);
  open.send(`id: 4\ndata: c\n\n${DONE}`);
  await running;
  assert.deepEqual(types(), ['connecting', 'connected', 'text', 'text', 'caught-up', 'text', 'ended']);
});

test('what a later server adds is ignored', async () => {
  const open = wire();
  const { running, types } = reader(new FakeServer(open), { request: null });
  open.send(`event: usage\nid: 2\ndata:{"tokens":1}\n\nid: 3\ndata: a\n\n${DONE}`);
  await running;
  assert.deepEqual(types(), ['connecting', 'connected', 'text', 'ended']);
});

test('a reader that closes leaves nothing behind', async () => {
  const open = wire();
  const server = new FakeServer(open);
  const { clock, running, stream, told } = reader(server);
  await settle();
  const before = told.length;
  stream.close();
  await running;
  assert.equal(server.requests[0].signal.aborted, true);
  assert.equal(clock.timers, 0);
  assert.equal(told.length, before);
});

test('a reader that closes is not told what a late response says', async () => {
  let answer;
  const late = new Promise((resolve) => (answer = resolve));
  const { running, stream, told } = reader(new FakeServer(() => late), { request: null });
  await settle();
  const before = told.length;
  stream.close();
  answer(refusal(404, 'there is no generation')());
  await running;
  assert.equal(told.length, before);
});

test('reasoning and tool calls are reported as such', async () => {
  const open = wire();
  const { running, told } = reader(new FakeServer(open), { request: null });
  open.send('event: reasoning\nid: 2\ndata:{"text":"two\\nlines"}\n\nevent: tool_call\nid: 3\ndata:{"index":0,"name":"f","arguments":"{}"}\n\n');
  open.send(DONE);
  await running;
  assert.deepEqual(told.filter(({ type }) => type === 'reasoning' || type === 'tool_call'), [
    { type: 'reasoning', text: 'two\nlines' },
    { type: 'tool_call', index: 0, name: 'f', arguments: '{}' },
  ]);
});
