// The server of these tests: a real one, with models that say what the tests need.

import { fileURLToPath } from 'node:url';

import { serve } from '../browser/server.mjs';

const MODELS = fileURLToPath(new URL('models.toml', import.meta.url));

/** Starts a server that is gone, with its data, when the test ends. */
export const serveModels = (test, more = []) => serve(test, ['--models', MODELS, ...more]);
