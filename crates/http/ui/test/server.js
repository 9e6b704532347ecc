// A server of the wire contract that does what a test tells it, and the clock that both live by.

export class FakeClock {
  #now = 1_000_000;
  #timers = new Set();

  now = () => this.#now;

  after = (milliseconds, call) => {
    const timer = { at: this.#now + milliseconds, call };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  get timers() {
    return this.#timers.size;
  }

  /** Lets time pass, timer by timer, with everything that follows from each. */
  async advance(milliseconds) {
    const until = this.#now + milliseconds;
    await settle();
    for (;;) {
      const next = [...this.#timers].sort((a, b) => a.at - b.at).find((timer) => timer.at <= until);
      if (!next) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
      await settle();
    }
    this.#now = until;
  }
}

/** Until every promise and stream that can go on has gone on. */
export async function settle() {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Answers each request with the next of `answers`: a function of the request, or an Error for a broken network. */
export class FakeServer {
  requests = [];
  #answers;

  constructor(...answers) {
    this.#answers = answers;
  }

  fetch = async (url, { method = 'GET', headers = {}, body, signal } = {}) => {
    const request = { url, method, headers, body, signal };
    this.requests.push(request);
    const answer = this.#answers.shift();
    if (answer === undefined) throw new Error(`unexpected request: ${method} ${url}`);
    if (answer instanceof Error) throw answer;
    return answer(request);
  };
}

/** A stream whose bytes the test sends. `wire.send` may be used before it is fetched. */
export function wire() {
  let controller;
  const body = new ReadableStream({ start: (its) => (controller = its) });
  const answer = ({ signal }) => {
    signal.addEventListener('abort', () => fail(signal.reason));
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
  const fail = (error) => {
    try {
      controller.error(error);
    } catch {
      // It has ended already.
    }
  };
  return Object.assign(answer, {
    send: (text) => controller.enqueue(new TextEncoder().encode(text)),
    end: () => controller.close(),
    fail: () => fail(new TypeError('network error')),
  });
}

export function refusal(status, message, headers = {}) {
  return () => Response.json({ error: { type: 'test', message } }, { status, headers });
}

export function gateway(status) {
  return () => new Response('<h1>Bad gateway</h1>', { status, headers: { 'content-type': 'text/html' } });
}
