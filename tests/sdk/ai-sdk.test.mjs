// The AI SDK, with both of its providers for these APIs, as an application sees Tokenwire through them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenResponses } from '@ai-sdk/open-responses';
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';

import { until } from '../browser/server.mjs';
import { serveModels } from './models.mjs';

// They say which options of a call a provider leaves out.
globalThis.AI_SDK_LOG_WARNINGS = false;

const PROVIDERS = {
  'openai.chat': (url, more) => createOpenAI({ baseURL: url, apiKey: 'any', ...more }).chat,
  'openai.responses': (url, more) => createOpenAI({ baseURL: url, apiKey: 'any', ...more }).responses,
  'open-responses': (url, more) => createOpenResponses({ name: 'tokenwire', url: `${url}/responses`, apiKey: 'any', ...more }),
};

const CITY = jsonSchema({ type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false });

// The version before its newest; before.mjs.
const OLDER = process.env.NODE_OPTIONS?.includes('before.mjs');

const base = (server) => new URL('v1', server.url).href;

/** What a stream told, part by part; its errors are parts too. */
async function collect(model, options) {
  const result = streamText({ model, maxRetries: 0, onError() {}, ...options });
  const parts = [];
  for await (const part of result.fullStream) parts.push(part);
  return { result, parts, texts: (type) => parts.filter((part) => part.type === type).map(({ text }) => text) };
}

/** What the model and the tools said in all steps. */
const messagesOf = async (result) => (OLDER ? (await result.response).messages : result.responseMessages);

const get = async (server, path) => (await fetch(new URL(`v1/responses/${path}`, server.url))).json();

for (const [name, connect] of Object.entries(PROVIDERS)) {
  test(`the AI SDK, ${name}`, async (t) => {
    const server = await serveModels(t);
    const provider = connect(base(server));
    const model = provider('scripted');

    await t.test('an answer comes in pieces or whole, with what it cost', async () => {
      const { result, texts } = await collect(model, { prompt: 'Greet me.' });
      assert.deepEqual(texts('text-delta'), ['Hello', ',', '\n', '👩‍🚀!']);
      const whole = await generateText({ model, prompt: 'Greet me.' });
      assert.equal(whole.text, 'Hello,\n👩‍🚀!');
      for (const { finishReason, totalUsage } of [{ finishReason: await result.finishReason, totalUsage: await result.totalUsage }, whole]) {
        assert.equal(finishReason, 'stop');
        assert.deepEqual([totalUsage.inputTokens, totalUsage.outputTokens, totalUsage.totalTokens], [3, 4, 7]);
      }
    });

    await t.test('a tool is called, its result answered, and the conversation goes on', async () => {
      const tools = { get_weather: tool({ description: 'Degrees', inputSchema: CITY, execute: ({ city }) => (city === 'Oslo' ? 7 : null) }) };
      const question = { role: 'user', content: 'How warm is it in Oslo?' };
      const { result } = await collect(model, { messages: [question], tools, stopWhen: stepCountIs(3) });
      assert.equal(await result.text, 'It is 7 degrees.');
      const [called, answered] = await result.steps;
      assert.deepEqual([called.finishReason, answered.finishReason], ['tool-calls', 'stop']);
      assert.deepEqual(called.toolCalls.map(({ toolCallId, toolName, input }) => [toolCallId, toolName, input]), [['call_1', 'get_weather', { city: 'Oslo' }]]);
      const messages = [question, ...(await messagesOf(result)), { role: 'user', content: 'Greet me.' }];
      const next = await generateText({ model, tools, messages, system: 'Be brief.' });
      assert.equal(next.text, 'Hello,\n👩‍🚀!');
      if (name === 'openai.chat') return;
      // Also what the provider has only named, because the server has said it.
      const { data } = await get(server, `${next.response.id}/input_items?order=asc`);
      const types = data.filter(({ role }) => role !== 'system').map(({ type }) => type);
      assert.deepEqual(types, ['message', 'function_call', 'function_call_output', 'message', 'message']);
      assert.equal(data.at(-2).content[0].text, 'It is 7 degrees.');
    });

    await t.test('an object is asked for by its schema, or as any JSON', async () => {
      for (const output of [Output.object({ schema: CITY }), Output.json()]) {
        const answer = await generateText({ model, prompt: 'Where am I?', output });
        assert.deepEqual(answer.output, { city: 'Oslo' });
      }
    });

    await t.test('reasoning is shown by a provider that knows it', async () => {
      const { result, texts } = await collect(model, { prompt: 'Think first.' });
      const whole = await generateText({ model, prompt: 'Think first.' });
      assert.deepEqual([await result.text, whole.text], ['Yes.', 'Yes.']);
      // @ai-sdk/openai reads no reasoning of chat completions, and of responses only summaries, which have to be asked for.
      const told = name === 'open-responses' ? 'Let me see.' : '';
      assert.deepEqual([texts('reasoning-delta').join(''), whole.reasoningText ?? ''], [told, told]);
    });

    await t.test('what is wrong is an error that says so, before the answer or in the middle of it', async () => {
      await assert.rejects(generateText({ model: provider('gpt'), prompt: 'Hello' }), (error) => {
        assert.ok(APICallError.isInstance(error));
        assert.match(error.message, /model is not one of those that exist/);
        return error.statusCode === 404 && !error.isRetryable;
      });
      const image = [{ type: 'image', image: new Uint8Array([137, 80, 78, 71]) }];
      await assert.rejects(generateText({ model, messages: [{ role: 'user', content: image }] }), (error) => {
        // @ai-sdk/open-responses shows no message where `code` is null; the body has it.
        return error.statusCode === 400 && JSON.parse(error.responseBody).error.message.includes('the models here read text alone');
      });
      const { result, parts, texts } = await collect(model, { prompt: 'Stumble.' });
      assert.equal(texts('text-delta').join(''), 'I was about');
      assert.equal(await result.finishReason, 'error');
      // @ai-sdk/open-responses 1 tells by the finish alone that it failed; 2 also by the error, and by the response that failed.
      const complaints = parts.filter(({ type }) => type === 'error').map(({ error }) => error.message ?? error.error?.message ?? String(error));
      assert.deepEqual([...new Set(complaints)], name === 'open-responses' && OLDER ? [] : ['it lost its thread']);
    });
  });

  test(`the AI SDK, ${name}: a server that dies never looks like the end of an answer`, async (t) => {
    const server = await serveModels(t);
    const result = streamText({ model: connect(base(server))('scripted'), prompt: 'Talk on.', maxRetries: 0, onError() {} });
    const types = [];
    const reading = async () => {
      for await (const part of result.fullStream) if (types.push(part.type) === 8) await server.kill();
    };
    await assert.rejects(reading(), (error) => APICallError.isInstance(error));
    assert.ok(!types.includes('finish'));
    await assert.rejects(async () => result.finishReason);
  });
}

test('the AI SDK shows reasoning once to whoever asks for a summary of it', async (t) => {
  const server = await serveModels(t);
  const thought = 'Let me see.';
  const question = { role: 'user', content: 'Think first.' };
  // @ai-sdk/openai knows by its name whether a model reasons.
  const openai = { forceReasoning: true, reasoningSummary: 'auto' };
  for (const [name, providerOptions] of Object.entries({
    'openai.responses': { openai },
    'openai.responses, not stored': { openai: { ...openai, store: false } },
    'open-responses': { tokenwire: { reasoningSummary: 'concise' } },
  })) {
    const model = PROVIDERS[name.split(',')[0]](base(server))('scripted');
    const { result, parts, texts } = await collect(model, { messages: [question], providerOptions });
    assert.deepEqual([texts('reasoning-delta').join(''), await result.text], [thought, 'Yes.'], name);
    const types = parts.map(({ type }) => type).filter((type) => type.startsWith('reasoning') && type !== 'reasoning-delta');
    assert.deepEqual(types, ['reasoning-start', 'reasoning-end'], name);
    const whole = await generateText({ model, messages: [question], providerOptions });
    // @ai-sdk/open-responses 1 reads the content alone of what does not stream, and no summary.
    assert.equal(whole.reasoningText ?? '', name === 'open-responses' && OLDER ? '' : thought, name);
    const messages = [question, ...(await messagesOf(result)), { role: 'user', content: 'Greet me.' }];
    assert.equal((await generateText({ model, messages, providerOptions })).text, 'Hello,\n👩‍🚀!', name);
  }
});

test('the AI SDK goes on from a response by its id', async (t) => {
  const server = await serveModels(t);
  const model = PROVIDERS['openai.responses'](base(server))('scripted');
  const { id } = (await generateText({ model, prompt: 'Think first.' })).response;
  const next = await generateText({ model, prompt: 'Greet me.', providerOptions: { openai: { previousResponseId: id } } });
  assert.equal(next.text, 'Hello,\n👩‍🚀!');
  assert.equal((await get(server, next.response.id)).previous_response_id, id);
});

test('an answer that the AI SDK aborts is stopped after the grace time, unless it was to go on', async (t) => {
  const server = await serveModels(t, ['--disconnect-grace', '100ms']);
  // Longer than it takes to notice that nobody reads.
  const prompt = `Repeat: ${Array.from({ length: 160 }, (_, index) => index).join(' ')}`;
  const leave = async (connect, headers = {}) => {
    let id;
    const spy = async (...call) => {
      const response = await fetch(...call);
      id = response.headers.get('location').split('/').pop();
      return response;
    };
    const leaving = new AbortController();
    const result = streamText({ model: connect(base(server), { fetch: spy })('scripted'), prompt, headers, abortSignal: leaving.signal, onError() {} });
    const types = [];
    for await (const part of result.fullStream) if (types.push(part.type) === 8) leaving.abort();
    assert.equal(types.at(-1), 'abort');
    return id;
  };
  const left = await Promise.all(Object.values(PROVIDERS).map((connect) => leave(connect)));
  const detached = await leave(PROVIDERS['open-responses'], { 'Tokenwire-On-Disconnect': 'detach' });
  // To look at a response is to be there: the others are left alone until this one has come to its end, and say so then.
  await until('the detached answer has ended', async () => (await get(server, detached)).status !== 'in_progress');
  const whole = await get(server, detached);
  assert.deepEqual([whole.status, whole.output[0].content[0].text], ['completed', prompt.slice('Repeat: '.length)]);
  for (const id of left) assert.equal((await get(server, id)).status, 'cancelled');
});
