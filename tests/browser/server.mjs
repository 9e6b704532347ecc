// A real server, to be asked and hurt: `tokenwire serve` on a port and a data directory of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { atEnd } from './cleanup.mjs';

const BINARY = process.env.TOKENWIRE_BIN ?? fileURLToPath(new URL('../../target/debug/tokenwire', import.meta.url));

/** More than a debug build needs to start on a busy machine, in milliseconds. */
const PATIENCE = 30_000;

/** An answer of a few seconds: time to do something to it. */
export const STORY = ['--simulated-words', '200', '--simulated-delay', '20ms'];

/** An answer that outlasts every test. */
export const ENDLESS = ['--simulated-words', '100000', '--simulated-delay', '50ms'];

/** Starts a server that is gone, with its data, when the test ends. */
export async function serve(test, args = STORY) {
  const server = new Server(args, await freePort(), await mkdtemp(join(tmpdir(), 'tokenwire-browser-')));
  atEnd(test, () => server.dispose());
  await server.start();
  return server;
}

class Server {
  #args;
  #port;
  #directory;
  #process = null;
  #log = '';

  constructor(args, port, directory) {
    this.#args = args;
    this.#port = port;
    this.#directory = directory;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/`;
  }

  get pid() {
    return this.#process.pid;
  }

  /** Starts it, again after `kill`, on the same port and the same data. */
  async start() {
    const own = ['serve', '--listen', `127.0.0.1:${this.#port}`, '--data-dir', join(this.#directory, 'data')];
    // Nothing of the environment that the test runs in may set anything up.
    const child = spawn(BINARY, [...own, ...this.#args], { cwd: this.#directory, env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const output of [child.stdout, child.stderr]) output.on('data', (text) => (this.#log += text));
    child.on('error', (error) => (this.#log += `${error}\n`));
    await until(`the server is ready`, async () => {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`the server did not start: ${this.#log}`);
      return (await fetch(new URL('ready', this.url)).catch(() => null))?.ok;
    });
  }

  /** As a crash or the end of the power would: it has no chance to say good-bye. */
  async kill() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  async dispose() {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }

  /** The text of an ended generation, as the server tells it to somebody who reads it for the first time. */
  async text(id) {
    const response = await fetch(new URL(`ask/${id}`, this.url), { signal: AbortSignal.timeout(PATIENCE) });
    const blocks = (await response.text()).split('\n\n');
    const pieces = blocks.filter((block) => block.startsWith('id: ') && !block.includes('\nevent: '));
    const lines = (block) => block.split('\n').slice(1).map((line) => line.slice('data: '.length));
    return pieces.map((block) => lines(block).join('\n')).join('');
  }
}

/** Waits for a condition, with a bound. */
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A port of this machine that nobody listens on. */
export async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}
