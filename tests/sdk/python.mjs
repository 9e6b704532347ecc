// Runs tests that are written in Python, with OpenAI's SDK for it, against a server that is there already.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const PYTHON = process.env.TOKENWIRE_TEST_SDK_PYTHON ?? fileURLToPath(new URL('../../target/sdk-python/bin/python', import.meta.url));

/** Starts a file of this directory. It writes to its standard output what the caller has to know, and reads what it is told. */
export function python(file, server, more = {}) {
  const env = { TOKENWIRE_URL: server.url, TOKENWIRE_PID: String(server.pid), PYTHONDONTWRITEBYTECODE: '1', ...more };
  const path = fileURLToPath(new URL(file, import.meta.url));
  return spawn(PYTHON, ['-W', 'error::ResourceWarning', path], { env, stdio: ['pipe', 'pipe', 'inherit'] });
}

/** Runs a file of this directory to its end: all of its tests pass. */
export async function passes(file, server, more = {}) {
  const [code] = await once(python(file, server, more), 'exit');
  assert.equal(code, 0);
}
