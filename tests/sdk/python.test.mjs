// OpenAI's Python SDK. What it should see is written in Python; each file gets a server of its own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { serveModels } from './models.mjs';

const PYTHON = process.env.TOKENWIRE_TEST_SDK_PYTHON ?? fileURLToPath(new URL('../../target/sdk-python/bin/python', import.meta.url));

for (const file of ['chat.py', 'cut.py']) {
  test(`the Python SDK: ${file}`, async (t) => {
    const server = await serveModels(t);
    const path = fileURLToPath(new URL(file, import.meta.url));
    const env = { TOKENWIRE_URL: server.url, TOKENWIRE_PID: String(server.pid), PYTHONDONTWRITEBYTECODE: '1' };
    const python = spawn(PYTHON, ['-W', 'error::ResourceWarning', path], { env, stdio: ['ignore', 'inherit', 'inherit'] });
    const [code] = await once(python, 'exit');
    assert.equal(code, 0);
  });
}
