// What /openapi.json says, held against the server by tools that nobody here wrote.

import { test } from 'node:test';

import { serveModels } from './models.mjs';
import { passes } from './python.mjs';

test('answers of every kind are as the document says', async (t) => passes(['openapi'], await serveModels(t)));
