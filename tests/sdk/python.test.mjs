// OpenAI's Python SDK. What it should see is written in Python.

import { test } from 'node:test';

import { serveModels } from './models.mjs';
import { passes } from './python.mjs';

test('the Python SDK: chat completions, responses, and what goes wrong', async (t) => {
  await passes(['chat', 'responses', 'errors'], await serveModels(t));
});

test('the Python SDK: a server that dies', async (t) => passes(['cut'], await serveModels(t)));
