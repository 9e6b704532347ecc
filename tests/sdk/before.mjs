// Runs tests against the majors of the SDKs before the newest: node --import ./before.mjs
//
// package.json has both; the older ones have `-before` behind their names.

import { registerHooks } from 'node:module';

const SDK = /^(openai|ai|@ai-sdk\/openai|@ai-sdk\/open-responses)(?=\/|$)/;

registerHooks({
  resolve(specifier, context, next) {
    // An SDK that imports another one has its own.
    const own = context.parentURL?.includes('/node_modules/');
    return next(own ? specifier : specifier.replace(SDK, '$1-before'), context);
  },
});
