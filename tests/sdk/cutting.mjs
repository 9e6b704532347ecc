// What the tests of cut connections share: a server, clients with and without the proxy, and readers that are cut.

import assert from 'node:assert/strict';

import OpenAI from 'openai';

import { serveModels } from './models.mjs';
import { proxyOf } from './proxy.mjs';

const TOOLS = [{ type: 'function', name: 'get_weather', parameters: { type: 'object' }, strict: false }];

export const EVERYTHING = { model: 'scripted', input: 'Show everything.', tools: TOOLS };
export const ENDLESS = { model: 'scripted', input: 'Talk for ever.' };

/** A server that does one thing at a time. */
export async function connect(t, options = {}) {
  const server = await serveModels(t, ['--slots', '1']);
  const proxy = await proxyOf(t, server);
  const through = ({ url }) => new OpenAI({ baseURL: new URL('v1', url).href, apiKey: 'any', maxRetries: 0, ...options });
  return { server, proxy, direct: through(server), proxied: through(proxy) };
}

export const planned = (plan, more = {}) => ({ headers: { 'Proxy-Plan': plan, ...more } });

export async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

/** What the SDK throws at a cut. */
export const isCut = (error) => error instanceof TypeError && error.message === 'terminated';

/** All events, read without a cut. */
export async function whole({ direct }, id) {
  const events = await collect(await direct.responses.retrieve(id, { stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  return events;
}

/**
 * Adds what comes to the events. The connection is held and cut once `every` of them were seen: what has come and was not
 * read yet is lost in Node. True once the stream has ended, false if it was cut.
 */
export async function read({ proxy }, events, stream, every) {
  let seen = 0;
  try {
    for await (const event of stream) {
      events.push(event);
      seen += 1;
      if (seen === every) await proxy.cut();
    }
  } catch (error) {
    assert.ok(isCut(error), error);
    return false;
  }
  return true;
}

/** Reads to a clean end, resuming after every cut. How often it was cut. */
export async function resume(connected, events, id, every, more = '') {
  for (let cuts = 0; ; cuts += 1) {
    const after = events.length > 0 ? { starting_after: events.at(-1).sequence_number } : {};
    const stream = await connected.proxied.responses.retrieve(id, { stream: true, ...after }, planned(`hold ${every}${more}`));
    if (await read(connected, events, stream, every)) return cuts;
  }
}
