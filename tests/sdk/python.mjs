// Runs tests that are written in Python, with OpenAI's SDK for it, against a server that is there already.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const DIRECTORY = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = process.env.TOKENWIRE_TEST_SDK_PYTHON ?? fileURLToPath(new URL('../../target/sdk-python/bin/python', import.meta.url));

/** Starts modules of this directory, in one process. What they write to their standard output the caller has to know. */
export function python(modules, server, more = {}) {
  const env = { TOKENWIRE_URL: server.url, TOKENWIRE_PID: String(server.pid), PYTHONPATH: process.env.PYTHONPATH, ...more };
  const args = ['-B', '-W', 'error::ResourceWarning', '-m', 'unittest', ...modules];
  return spawn(PYTHON, args, { cwd: DIRECTORY, env, stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Runs modules of this directory to their end: all of their tests pass. */
export async function passes(modules, server, more = {}) {
  const [code] = await once(python(modules, server, more), 'exit');
  assert.equal(code, 0);
}
