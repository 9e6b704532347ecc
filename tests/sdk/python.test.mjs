// OpenAI's Python SDK. What it should see is written in Python; each file gets a server of its own.

import { test } from 'node:test';

import { serveModels } from './models.mjs';
import { passes } from './python.mjs';

for (const file of ['chat.py', 'cut.py', 'responses.py', 'errors.py']) {
  test(`the Python SDK: ${file}`, async (t) => passes(file, await serveModels(t)));
}
