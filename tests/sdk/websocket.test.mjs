// Responses over WebSockets, compaction and waiting.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';

import { collect } from './cutting.mjs';
import { serveModels } from './models.mjs';
import { passes } from './python.mjs';

test("OpenAI's Python SDK speaks WebSockets, compacts and waits", async (t) => passes(['websocket'], await serveModels(t)));

test("OpenAI's SDK for Node is told over a WebSocket what a stream tells", async (t) => {
  const server = await serveModels(t);
  const client = new OpenAI({ baseURL: new URL('v1', server.url).href, apiKey: 'any', maxRetries: 0 });
  const socket = new ResponsesWS(client);
  t.after(() => socket.close());
  const told = () =>
    new Promise((resolve, reject) => {
      const events = [];
      const hear = (event) => {
        events.push(event);
        if (event.type === 'response.completed') {
          socket.off('event', hear);
          resolve(events);
        }
      };
      socket.on('event', hear);
      socket.once('error', reject);
    });
  let previous;
  for (const input of ['Think first.', 'Greet me.']) {
    const events = told();
    socket.send({ type: 'response.create', model: 'scripted', input, previous_response_id: previous });
    const [{ response }] = await events;
    previous = response.id;
    assert.deepEqual(await events, await collect(await client.responses.retrieve(previous, { stream: true })));
  }
});
