// Responses over WebSockets, compaction and waiting.

import { test } from 'node:test';

import { serveModels } from './models.mjs';
import { passes } from './python.mjs';

test("OpenAI's Python SDK speaks WebSockets, compacts and waits", async (t) => passes(['websocket'], await serveModels(t)));
