// A proxy that hurts: it passes bytes between clients and a server as they are, and cuts a connection, swallows an answer or
// refuses a request where that request says so. The plan stands in the request itself, so that a client in any process can
// ask for it, and no two requests share it:
//
//   proxy-plan: reset 3        reset the connection once three events of the answer have passed
//   proxy-plan: close 3+40     close it after 40 bytes more, at most all but the last byte of the fourth event
//   proxy-plan: hold 3         pass no more after three events, until `cut` is called; then reset
//   proxy-plan: refuse         answer 503; the server hears nothing of it
//   proxy-plan: swallow        let the server answer, and answer 503 in its place
//   proxy-plan: lose           let the server answer, and reset the connection in its place
//
// With `proxy-call: NAME` requests are counted under this name, and only the first of them is treated by its plan: the proxy
// answers `GET /proxy/calls/NAME` itself, with the count. `data: [DONE]` and comments are no events.

import { EventEmitter, once } from 'node:events';
import { connect, createServer } from 'node:net';

import { atEnd } from '../browser/cleanup.mjs';

const BLANK_LINE = '\n\n';
const EVENT = /^data:(?! \[DONE\])/m;

/** Stands in front of a server until the test ends. */
export async function proxyOf(test, server) {
  const proxy = new Proxy(new URL(server.url).port);
  atEnd(test, () => proxy.close());
  return proxy.listen();
}

class Proxy {
  #target;
  #listener = createServer({ noDelay: true }, (client) => this.#serve(client));
  #clients = new Set();
  #calls = new Map();
  #held = null;
  #changes = new EventEmitter();

  constructor(target) {
    this.#target = target;
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}/`;
  }

  async listen() {
    await once(this.#listener.listen(0, '127.0.0.1'), 'listening');
    return this;
  }

  /** Resets the connection that is held, or the next one that is. */
  async cut() {
    if (!this.#held) await once(this.#changes, 'held');
    this.#held.resetAndDestroy();
    this.#held = null;
  }

  #hold(client) {
    this.#held = client;
    this.#changes.emit('held');
  }

  /** How many requests came under this name. */
  calls(name) {
    return this.#calls.get(name) ?? 0;
  }

  async close() {
    this.#listener.close();
    for (const client of this.#clients) client.destroy();
  }

  #serve(client) {
    const server = connect({ port: this.#target, host: '127.0.0.1', noDelay: true });
    this.#clients.add(client);
    for (const [one, other] of [[client, server], [server, client]]) {
      // Whatever goes wrong ends a connection, and its end is the other's, after what has come.
      one.on('error', () => {});
      one.on('close', () => other.destroySoon());
    }
    client.on('close', () => this.#clients.delete(client));
    const requests = new Requests();
    let plan = null;
    client.on('data', (bytes) => {
      for (const request of requests.read(bytes)) {
        if (request.head) plan = this.#planned(request.head);
        if (!plan.mute) server.write(request.bytes);
        if (request.whole) plan.asked?.(client);
      }
    });
    server.on('data', (bytes) => plan.answered(client, server, bytes));
  }

  #planned(head) {
    const said = (name) => head.match(new RegExp(`^${name}: (.*)\r$`, 'im'))?.[1];
    const count = head.match(/^GET \/proxy\/calls\/(\S+)/)?.[1];
    if (count) return { mute: true, asked: (client) => answer(client, '200 OK', this.calls(count)) };
    const name = said('proxy-call');
    if (name) this.#calls.set(name, this.calls(name) + 1);
    const [what, where] = (this.calls(name) > 1 ? '' : (said('proxy-plan') ?? '')).split(' ');
    if (what === '') return { answered: (client, _, bytes) => client.write(bytes) };
    if (what === 'refuse') return { mute: true, asked: refuse };
    const end = { swallow: refuse, lose: reset, reset, close, hold: (client) => this.#hold(client) }[what];
    return { answered: where ? cutting(where, end) : swallowing(end) };
  }
}

const close = (client) => client.destroy();
const reset = (client) => client.resetAndDestroy();
const refuse = (client) => answer(client, '503 Service Unavailable', '');

function answer(client, status, body) {
  client.end(`HTTP/1.1 ${status}\r\ncontent-length: ${String(body).length}\r\nretry-after-ms: 1\r\nconnection: close\r\n\r\n${body}`);
}

/** Nothing of the answer passes; whatever the server has to say after its first bytes is not even read. */
function swallowing(end) {
  return (client, server) => {
    server.removeAllListeners('close').destroy();
    end(client);
  };
}

/** Passes an answer up to a place, and ends it there. */
function cutting(where, end) {
  const [events, more] = where.split('+').map(Number);
  let all = Buffer.alloc(0);
  let passed = 0;
  return (client, server, bytes) => {
    all = Buffer.concat([all, bytes]);
    const { safe, isCut } = place(all, events, more ?? 0);
    const next = all.subarray(passed, safe);
    passed = safe;
    if (!isCut) return client.write(next);
    server.pause().removeAllListeners('data');
    client.write(next, () => end(client));
  };
}

/** How many of these bytes may pass, and whether the cut comes right after them. Half an event passes once all of it is there. */
function place(bytes, events, more) {
  let at = 0;
  for (let seen = 0; seen < events; ) {
    const end = bytes.indexOf(BLANK_LINE, at);
    if (end < 0) return { safe: bytes.length, isCut: false };
    if (EVENT.test(bytes.toString('latin1', at, end))) seen += 1;
    at = end + BLANK_LINE.length;
  }
  if (more === 0) return { safe: at, isCut: true };
  const end = bytes.indexOf(BLANK_LINE, at);
  return end < 0 ? { safe: at, isCut: false } : { safe: Math.min(at + more, end + 1), isCut: true };
}

/** Takes the bytes of a connection apart into requests: heads as they are whole, and the bytes of bodies as they come. */
class Requests {
  #head = '';
  #missing = 0;

  *read(bytes) {
    while (bytes.length > 0) {
      if (this.#missing > 0) {
        const body = bytes.subarray(0, this.#missing);
        this.#missing -= body.length;
        bytes = bytes.subarray(body.length);
        yield { bytes: body, whole: this.#missing === 0 };
        continue;
      }
      const text = this.#head + bytes.toString('latin1');
      const end = text.indexOf('\r\n\r\n') + 4;
      if (end < 4) {
        this.#head = text;
        return;
      }
      bytes = bytes.subarray(end - this.#head.length);
      this.#head = '';
      const head = text.slice(0, end);
      this.#missing = Number(head.match(/^content-length: (\d+)\r$/im)?.[1] ?? 0);
      yield { head, bytes: Buffer.from(head, 'latin1'), whole: this.#missing === 0 };
    }
  }
}
