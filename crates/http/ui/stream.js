// Follows one generation until it ends, whatever happens to the connection.
//
// A POST with the client's own id is idempotent, so it is repeated until a response arrives; from then on the answer is
// read with GET from the cursor, the last `id:` that was seen. Entries at or before the cursor are dropped, so every delta is
// delivered exactly once, in order. Only a terminal event ends an answer; a body that merely stops is a broken connection.
//
// Not EventSource, because that gives up for good when a proxy or a starting server answers 503, cannot POST, and cannot
// be told that the network is back. No DOM here: what a reader sees is answer.js and app.js.

import { SseParser } from './sse.js';

/** The server sends at least a comment this often, in milliseconds. */
export const HEARTBEAT = 10_000;

/** Silence after which a connection counts as dead: two heartbeats and a slow network. */
export const SILENCE = 25_000;

/** The longest pause between two automatic tries, in milliseconds. */
export const LONGEST_PAUSE = 3_000;

/** The longest Retry-After that is believed: a longer one is more likely a mistake than a plan. */
const LONGEST_RETRY_AFTER = 300_000;

/** A backlog arrives in one go: once nothing came for this long, or this long after it began, what follows is live. */
const QUIET = 80;
const LONGEST_BACKLOG = 1_000;

const HAPPENINGS = new Set(['queued', 'started', 'rewind', 'waiting_for_model', 'reasoning', 'tool_call']);
const OUTCOMES = new Set(['done', 'error', 'timeout', 'expired', 'cancelled']);

const CLOCK = {
  now: () => Date.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

/**
 * The events that `on` gets. About the connection:
 *
 *     connecting | accepted | connected                 accepted: the server has stored a new generation
 *     caught-up                                         what came so far was a backlog, what follows is live
 *     waiting { cause, message?, until }                it broke: lost, silent or unavailable; the next try is at `until`
 *
 * about the generation, as the server sends them, and about `stop`:
 *
 *     queued | started { attempt, region? } | rewind { attempt?, region? }
 *     waiting_for_model { until }                       the model is busy or cannot be reached; asked again at `until` (ms)
 *     text { text } | reasoning { text } | tool_call { index, id?, name?, arguments }
 *     stopping | unstoppable { message }
 *
 * and exactly one last event, unless it is closed before:
 *
 *     ended { outcome, ... } | refused { status, message } | gone
 */
export class AnswerStream {
  #id;
  #request;
  #on;
  #fetch;
  #clock;
  #random;

  #accepted;
  #backlog;
  #cursor = 0;
  #retry = 1_000;
  #over = false;
  #stopping = false;
  #connection = null;
  #heardAt = 0;
  #pauses = new Set();

  /**
   * @param {object} options
   * @param {string} options.id the generation
   * @param {object | null} [options.request] what to POST; null to follow a generation that exists
   * @param {(event: object) => void} options.on
   */
  constructor({ id, request = null, on, fetch = globalThis.fetch.bind(globalThis), clock = CLOCK, random = Math.random }) {
    this.#id = id;
    this.#request = request;
    this.#accepted = request === null;
    this.#backlog = this.#accepted;
    this.#on = on;
    this.#fetch = fetch;
    this.#clock = clock;
    this.#random = random;
  }

  /** Returns when the generation has ended or `close` was called. Never rejects. */
  async run() {
    for (let failures = 0; !this.#over; ) {
      const broken = await this.#connect();
      if (this.#over) return;
      if (broken.wasOpen) failures = 0;
      const pause = Math.max(this.#backoff(failures), broken.atLeast ?? 0);
      failures += 1;
      this.#tell({ type: 'waiting', cause: broken.cause, message: broken.message, until: this.#clock.now() + pause });
      await this.#pause(pause);
    }
  }

  /** Asks the server to stop, until it has heard. The stream then ends with `cancelled`. */
  async stop() {
    if (this.#over || this.#stopping) return;
    if (!this.#accepted) {
      // Nobody may ever answer this POST. Should it have arrived all the same, this reaches what it began.
      this.#end({ type: 'ended', outcome: 'cancelled', unsent: true });
      await this.#delete().catch(() => {});
      return;
    }
    this.#stopping = true;
    this.#tell({ type: 'stopping' });
    for (let failures = 0; !this.#over; failures += 1) {
      const response = await this.#delete().catch(() => null);
      if (response?.ok || response?.status === 404) return;
      if (response && !isTransient(response.status)) {
        this.#stopping = false;
        this.#tell({ type: 'unstoppable', message: (await complaint(response)).message });
        return;
      }
      await this.#pause(this.#backoff(failures));
    }
  }

  /** Closes the connection; the generation goes on without this reader. No events follow. */
  close() {
    this.#over = true;
    this.#connection?.abort();
    this.wake();
  }

  /** Something may have changed (the network is back, the page is seen again): try now rather than later. */
  wake() {
    for (const endPause of [...this.#pauses]) endPause();
    // A device that slept finds a connection that looks open and is not: one missed heartbeat is enough to doubt it.
    if (this.#clock.now() - this.#heardAt > HEARTBEAT * 1.5) this.#connection?.abort();
  }

  /** One connection from its request to its end. Returns why another one is needed. */
  async #connect() {
    const connection = new AbortController();
    this.#connection = connection;
    this.#heardAt = this.#clock.now();
    let [silent, wasOpen] = [false, false];
    const unwatch = this.#watch(
      () => this.#heardAt + SILENCE,
      () => {
        silent = true;
        connection.abort();
      },
    );
    this.#tell({ type: 'connecting' });
    try {
      const response = await this.#fetch(...this.#nextRequest(connection.signal));
      this.#heardAt = this.#clock.now();
      if (response.status === 204) this.#end({ type: 'ended', outcome: 'done' });
      else if (!response.ok) return await this.#turnedAway(response);
      else if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
        return { cause: 'unavailable', message: 'something other than Tokenwire answered' };
      } else {
        wasOpen = true;
        if (!this.#accepted) this.#tell({ type: 'accepted' });
        this.#accepted = true;
        this.#tell({ type: 'connected' });
        await this.#read(response.body.getReader());
      }
    } catch {
      // A network failure, or an abort of our own: either way the connection is gone.
    } finally {
      unwatch();
      connection.abort();
    }
    return { cause: silent ? 'silent' : 'lost', wasOpen };
  }

  #nextRequest(signal) {
    const headers = { accept: 'text/event-stream' };
    if (!this.#accepted) {
      const body = JSON.stringify({ ...this.#request, uuid: this.#id });
      headers['content-type'] = 'application/json';
      return ['/ask', { method: 'POST', headers, body, signal, cache: 'no-store' }];
    }
    if (this.#cursor > 0) headers['last-event-id'] = String(this.#cursor);
    return [this.#path(), { headers, signal, cache: 'no-store' }];
  }

  async #read(reader) {
    const parser = new SseParser((event) => this.#receive(event));
    const opened = this.#clock.now();
    // Only what came before this page was there, or while it was away, is a backlog.
    const unwatch = this.#backlog
      ? this.#watch(
          () => Math.min(this.#heardAt + QUIET, opened + LONGEST_BACKLOG),
          () => this.#tell({ type: 'caught-up' }),
        )
      : this.#tell({ type: 'caught-up' });
    this.#backlog = true;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.#over) return;
        this.#heardAt = this.#clock.now();
        parser.push(value);
        this.#advance(parser.lastEventId);
        if (parser.retry !== null) this.#retry = Math.min(parser.retry, LONGEST_PAUSE);
        if (this.#over) return;
      }
    } finally {
      unwatch?.();
    }
  }

  #receive({ type, data, id }) {
    if (this.#over) return;
    if (id !== undefined && Number(id) <= this.#cursor) return;
    if (type === 'message') this.#tell({ type: 'text', text: data });
    else if (OUTCOMES.has(type)) this.#end({ ...details(data), type: 'ended', outcome: type });
    else if (HAPPENINGS.has(type)) this.#tell({ ...details(data), type });
    this.#advance(id);
  }

  #advance(id) {
    const seq = Number(id);
    if (Number.isSafeInteger(seq) && seq > this.#cursor) this.#cursor = seq;
  }

  /** Handles a response that is not a stream: the end, or another try. */
  async #turnedAway(response) {
    const { message } = await complaint(response);
    if (isTransient(response.status)) {
      return { cause: 'unavailable', message, atLeast: retryAfter(response, this.#clock.now()) };
    }
    if (this.#accepted && response.status === 404) this.#end({ type: 'gone' });
    else if (this.#accepted && this.#cursor > 0 && response.status === 400) {
      // The server does not know this cursor: it lost the end of its log. Read the rest of the log from the start.
      this.#cursor = 0;
      this.#tell({ type: 'rewind' });
    } else this.#end({ type: 'refused', status: response.status, message });
    return { cause: 'lost' };
  }

  #tell(event) {
    if (!this.#over) this.#on(event);
  }

  #end(lastWord) {
    this.#tell(lastWord);
    this.close();
  }

  #delete() {
    return this.#fetch(this.#path(), { method: 'DELETE', cache: 'no-store' });
  }

  #path() {
    return `/ask/${this.#id}`;
  }

  /** Doubles, and varies, so that the readers of a restarted server do not all come back in the same moment. */
  #backoff(failures) {
    return Math.min(this.#retry * 2 ** failures, LONGEST_PAUSE) * (0.5 + this.#random() / 2);
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        this.#pauses.delete(end);
        resolve();
      };
      const cancel = this.#clock.after(milliseconds, end);
      this.#pauses.add(end);
    });
  }

  /** Calls once `due()` has passed, though it may move on in the meantime. Returns what calls it off. */
  #watch(due, call) {
    let cancel;
    const look = () => {
      const left = due() - this.#clock.now();
      if (left > 0) cancel = this.#clock.after(left, look);
      else call();
    };
    look();
    return () => cancel();
  }
}

/** Whether the same request may succeed later. */
function isTransient(status) {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}

/** The server's own words for why not; proxies in between have none. */
async function complaint(response) {
  const body = await response.json().catch(() => null);
  return { message: body?.error?.message ?? `the server answered with status ${response.status}` };
}

function details(data) {
  try {
    const value = JSON.parse(data);
    return typeof value === 'object' ? value : {};
  } catch {
    return {};
  }
}

/** Seconds or a date, as HTTP has it; in milliseconds from now. */
function retryAfter(response, now) {
  const value = response.headers.get('retry-after');
  if (!value) return 0;
  const wait = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now;
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(wait, 0), LONGEST_RETRY_AFTER);
}
