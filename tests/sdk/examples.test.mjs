// examples/, as a stranger runs them: unchanged, against a server of the models that come with them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { atEnd } from '../browser/cleanup.mjs';
import { serve, until } from '../browser/server.mjs';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
const PYTHON = process.env.TOKENWIRE_TEST_SDK_PYTHON ?? fileURLToPath(new URL('../../target/sdk-python/bin/python', import.meta.url));

const connect = (t) => serve(t, ['--models', join(EXAMPLES, 'models.toml')]);

/** One run of a program against a server, and what it wrote. */
class Run {
  out = '';
  err = '';
  #child;
  #ended;

  constructor(test, server, command, args, more = {}) {
    const base = server.url.replace(/\/$/, '');
    const { PATH, PYTHONPATH, NODE_OPTIONS } = process.env;
    const env = { PATH, PYTHONPATH, NODE_OPTIONS, PYTHONDONTWRITEBYTECODE: '1', TOKENWIRE_URL: base, OPENAI_BASE_URL: `${base}/v1`, ...more };
    this.#child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout.setEncoding('utf8').on('data', (text) => (this.out += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.err += text));
    this.#ended = once(this.#child, 'close');
    atEnd(test, () => this.#child.kill());
  }

  /** The exit code, once it has one. */
  async code() {
    const [code] = await this.#ended;
    return code;
  }
}

const python = (t, server, file, args, env) => new Run(t, server, PYTHON, [join(EXAMPLES, 'python', file), ...args], env);
const shell = (t, server, file, args, env) => new Run(t, server, join(EXAMPLES, 'curl', file), args, env);

/** In a directory of its own, where the SDK was installed. */
async function node(t, server, file, args, env) {
  const directory = await mkdtemp(join(tmpdir(), 'tokenwire-example-'));
  atEnd(t, () => rm(directory, { recursive: true, force: true }));
  await cp(join(EXAMPLES, 'node', file), join(directory, file));
  await symlink(fileURLToPath(new URL('node_modules', import.meta.url)), join(directory, 'node_modules'));
  return new Run(t, server, process.execPath, [join(directory, file), ...args], env);
}

test('every example goes on after the server has died, and neither loses nor repeats anything', async (t) => {
  const server = await connect(t);
  // Some seconds long, and every word of it another one.
  const question = Array.from({ length: 240 }, (_, index) => index).join(' ');
  const answer = `You said: ${question}\n`;
  const runs = {
    python: python(t, server, 'stream_and_resume.py', [question]),
    node: await node(t, server, 'stream-and-resume.mjs', [question]),
    ask: shell(t, server, 'ask.sh', [question]),
    responses: shell(t, server, 'responses.sh', [question]),
  };
  await until('every example shows text', () => Object.values(runs).every(({ out }) => out.length > 20));
  await server.kill();
  const cut = Object.entries(runs).map(([name, { out }]) => [name, out]);
  await server.start();
  for (const [name, out] of cut) {
    assert.equal(await runs[name].code(), 0, `${name}: ${runs[name].err}`);
    assert.ok(out.length < answer.length, `${name} was in the middle of it`);
    assert.equal(runs[name].out, answer, name);
  }
});

test('white space and lines of an answer arrive as they are', async (t) => {
  const server = await connect(t);
  for (const run of [shell(t, server, 'ask.sh', ['Say hello.']), shell(t, server, 'responses.sh', ['Say hello.'])]) {
    assert.deepEqual([await run.code(), run.out, run.err], [0, 'Hello, 👩‍🚀!\n  Bye.\n', '']);
  }
});

test('the agent calls its tools, and answers, also when the server dies on the way', async (t) => {
  const server = await connect(t);
  const both = python(t, server, 'agent.py', ['Compare Paris and Rome.']);
  assert.equal(await both.code(), 0, both.err);
  assert.deepEqual([both.out, both.err.match(/get_weather/g).length], ['It is 21 degrees there.\n', 2]);
  const agent = python(t, server, 'agent.py', ['What is the weather in Oslo?']);
  await until('the agent has called', () => agent.err.includes('get_weather({"city":"Oslo","unit":"celsius"})'));
  await server.kill();
  await server.start();
  assert.equal(await agent.code(), 0, agent.err);
  assert.equal(agent.out, 'It is 21 degrees there.\n');
});

test('an example does not try again what can never succeed', async (t) => {
  const server = await connect(t);
  const unknown = { MODEL: 'gpt' };
  for (const [run, complaint] of [
    [shell(t, server, 'ask.sh', [' ']), /query is empty/],
    [shell(t, server, 'ask.sh', ['Refuse.']), /this model does not answer that/],
    [shell(t, server, 'responses.sh', ['Refuse.']), /this model does not answer that/],
    [shell(t, server, 'responses.sh', ['Talk too long.']), /cut short/],
    [shell(t, server, 'responses.sh', ['Hello'], unknown), /model is not one of those that exist/],
    [python(t, server, 'stream_and_resume.py', ['Hello'], unknown), /model is not one of those that exist/],
    [await node(t, server, 'stream-and-resume.mjs', ['Refuse.']), /this model does not answer that/],
  ]) {
    assert.equal(await run.code(), 1);
    assert.match(run.err, complaint);
  }
});
