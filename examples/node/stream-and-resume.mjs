// Streams an answer, and goes on exactly where it was when the connection breaks: also when the server was killed.
//
//     npm install openai
//     node stream-and-resume.mjs "Tell me a story."

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import OpenAI from 'openai';

const baseURL = process.env.OPENAI_BASE_URL ?? 'http://localhost:8000/v1';
const model = process.env.MODEL ?? 'demo';

const client = new OpenAI({ baseURL, apiKey: process.env.OPENAI_API_KEY ?? 'any' });

const LAST = new Set(['response.completed', 'response.incomplete', 'response.failed']);

/** The events of one response, each of them once and in order, whatever becomes of the connection. */
async function* events(question) {
  const key = { headers: { 'Idempotency-Key': randomUUID() } }; // Asking twice is asking once.
  for (let id, seen, pause = 500; ; pause = Math.min(2 * pause, 8_000)) {
    try {
      const stream = id
        ? await client.responses.retrieve(id, { stream: true, starting_after: seen })
        : await client.responses.create({ ...question, background: true, stream: true }, key);
      for await (const event of stream) {
        if (event.type === 'response.created') id = event.response.id;
        [seen, pause] = [event.sequence_number, 500];
        yield event;
        if (LAST.has(event.type)) return;
      }
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
    // A stream that ended without one of the last events was cut, however politely.
    await sleep(pause);
  }
}

/** The server cannot be reached, is not itself, or has gone in mid-answer (fetch's TypeError): all of that passes. */
function isBroken(error) {
  return error instanceof OpenAI.APIConnectionError || error instanceof OpenAI.InternalServerError || error instanceof TypeError;
}

for await (const event of events({ model, input: process.argv[2] ?? 'Tell me a story.' })) {
  if (event.type === 'response.output_text.delta') process.stdout.write(event.delta);
}
process.stdout.write('\n');
