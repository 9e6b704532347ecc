// Schemathesis on everything that /openapi.json describes: no 5xx, and nothing that is not as described.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { serve } from '../browser/server.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = process.env.TOKENWIRE_TEST_SDK_PYTHON ?? join(HERE, '../../target/sdk-python/bin/python');
const EXAMPLES = process.env.TOKENWIRE_TEST_EXAMPLES ?? '25';

test(`schemathesis finds nothing in ${EXAMPLES} examples an operation`, async (t) => {
  const server = await serve(t, ['--simulated-delay', '1ms']);
  // It keeps what it found in the directory that it runs in.
  const directory = await mkdtemp(join(tmpdir(), 'tokenwire-openapi-'));
  t.after(() => rm(directory, { recursive: true }));
  const config = ['--config-file', join(HERE, 'schemathesis.toml')];
  const args = [...config, 'run', `${server.url}openapi.json`, '--max-examples', EXAMPLES];
  const env = { ...process.env, PYTHONPATH: HERE, PYTHONDONTWRITEBYTECODE: '1', SCHEMATHESIS_HOOKS: 'hooks' };
  const tool = spawn(join(dirname(PYTHON), 'schemathesis'), args, { cwd: directory, env, stdio: 'inherit' });
  const [code] = await once(tool, 'exit');
  assert.equal(code, 0);
});
