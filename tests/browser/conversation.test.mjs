// Conversations: their history, what a reader changes in it, and where they are kept.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { BROKEN, launch, letters, Person } from './browser.mjs';
import { ENDLESS, serve, STORY } from './server.mjs';

const browser = await launch();
after(() => browser.close());

const ECHO = ['--simulated-delay', '1ms'];

/** The bodies of what the page asks from now on. */
function asked(reader) {
  const bodies = [];
  reader.page.on('request', (request) => {
    if (request.method() === 'POST') bodies.push(request.postDataJSON());
  });
  return bodies;
}

async function said(reader, ...prompts) {
  for (const prompt of prompts) {
    await reader.ask(prompt);
    await reader.state('Done');
  }
}

test('a conversation goes on with everything that was said, and survives a reload', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const bodies = asked(reader);
  const first = await reader.ask('My name is Ada');
  await reader.state('Done');
  const second = await reader.ask('What is my name?');
  await reader.answers.nth(1).waitFor();
  await reader.state('Done');
  const [one, two] = [await server.text(first), await server.text(second)];
  assert.deepEqual(bodies, [
    { query: 'My name is Ada', model: 'simulated', uuid: first },
    {
      messages: [
        { role: 'user', content: 'My name is Ada' },
        { role: 'assistant', content: one },
        { role: 'user', content: 'What is my name?' },
      ],
      model: 'simulated',
      uuid: second,
    },
  ]);
  const shown = () => reader.page.locator('.prose').allTextContents();
  const before = await shown();
  assert.deepEqual(before, [one, two]);
  await reader.page.reload();
  await reader.answers.nth(1).waitFor();
  assert.deepEqual(await shown(), before);
  assert.deepEqual(await reader.said.allTextContents(), ['My name is Ada', 'What is my name?']);
  assert.equal(bodies.length, 2, 'nothing was asked again');
});

test('an answer can be had again in its place', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await said(reader, 'One', 'Two');
  const bodies = asked(reader);
  const before = reader.hash;
  await reader.button('Regenerate the answer').click();
  const id = await reader.id(before);
  await reader.state('Done');
  assert.deepEqual(await reader.said.allTextContents(), ['One', 'Two']);
  assert.deepEqual(bodies.map(({ messages }) => messages.length), [3]);
  assert.equal(await reader.text(), await server.text(id));
  assert.deepEqual((await reader.kept()).map((turns) => turns.map(([prompt]) => prompt)), [['One', 'Two']]);
});

test('an earlier message can be edited, and replaces what follows', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await said(reader, 'One', 'Two', 'Three');
  const before = reader.hash;
  await reader.said.nth(1).hover();
  await reader.button('Edit this message').nth(1).click();
  await reader.page.getByText('Sending this replaces what follows it.').waitFor();
  await reader.page.getByRole('textbox', { name: 'Edit your message' }).fill('Second');
  await reader.page.locator('.editing').getByRole('button', { name: 'Send' }).click();
  const id = await reader.id(before);
  await reader.state('Done');
  assert.deepEqual(await reader.said.allTextContents(), ['One', 'Second']);
  assert.equal(await reader.text(), await server.text(id));
  await reader.page.reload();
  await reader.answers.nth(1).waitFor();
  assert.deepEqual(await reader.said.allTextContents(), ['One', 'Second']);
});

test('a message that the server refuses costs nothing of the conversation', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  await said(reader, 'One', 'Two');
  const address = reader.hash;
  const shown = await reader.page.locator('.prose').allTextContents();
  await reader.page.route('**/ask', (route) =>
    route.fulfill({ status: 422, json: { error: { type: 'rejected', message: 'the prompt has 9000 tokens, the limit is 8192' } } }),
  );
  await reader.button('Edit this message').first().click();
  await reader.page.getByRole('textbox', { name: 'Edit your message' }).fill('Too long');
  await reader.page.locator('.editing').getByRole('button', { name: 'Send' }).click();
  await reader.page.getByRole('alert').filter({ hasText: '9000 tokens' }).waitFor();
  assert.equal(await reader.prompt.inputValue(), 'Too long');
  assert.deepEqual(await reader.said.allTextContents(), ['One', 'Two']);
  assert.deepEqual(await reader.page.locator('.prose').allTextContents(), shown);
  assert.equal(reader.hash, address);
  assert.deepEqual((await reader.kept()).map((turns) => turns.map(([prompt]) => prompt)), [['One', 'Two']]);
});

test('a stopped answer stays in the history with what it has', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const bodies = asked(reader);
  const id = await reader.ask('Count to infinity');
  await reader.grown(20);
  await reader.button('Stop').click();
  await reader.state('Cancelled');
  await reader.ask('Go on');
  await reader.answers.nth(1).waitFor();
  await reader.grown(0);
  await reader.button('Stop').click();
  await reader.state('Cancelled');
  assert.deepEqual(bodies[1].messages[1], { role: 'assistant', content: await server.text(id) });
});

test('several conversations are listed, opened, deleted and brought back', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await said(reader, 'About rivers');
  await reader.button('New conversation').click();
  await said(reader, 'About wires');
  const titles = () => reader.conversations.locator('a > span').allTextContents();
  assert.deepEqual(await titles(), ['About wires', 'About rivers']);
  await reader.page.getByRole('link', { name: /^About rivers/ }).click();
  await reader.said.getByText('About rivers').waitFor();
  await said(reader, 'And lakes');
  assert.deepEqual(await titles(), ['About rivers', 'About wires']);
  await reader.button('Delete “About rivers”').click();
  await reader.page.getByRole('heading', { name: 'Every word arrives.' }).waitFor();
  assert.deepEqual(await titles(), ['About wires']);
  await reader.button('Undo').click();
  assert.deepEqual(await titles(), ['About rivers', 'About wires']);
  await reader.button('Delete all').click();
  assert.deepEqual(await titles(), []);
  await reader.page.reload();
  await reader.page.getByRole('heading', { name: 'Every word arrives.' }).waitFor();
  assert.deepEqual(await titles(), []);
  assert.deepEqual(await reader.page.evaluate(() => Object.keys(localStorage)), ['tokenwire.conversations']);
});

test('an answer goes on while another conversation is read', async (t) => {
  const server = await serve(t, STORY);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Tell me a story');
  await reader.grown(50);
  await reader.button('New conversation').click();
  const link = reader.page.getByRole('link', { name: /^Tell me a story/ });
  await link.getByText(/^Streaming/).waitFor();
  await link.getByText('just now', { exact: true }).waitFor();
  await link.click();
  await reader.state('Done');
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
  assert.equal(letters(await reader.text()), letters(await server.text(id)));
});

test('a message that is not sent yet waits in its conversation', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await said(reader, 'About rivers');
  await reader.prompt.fill('And what');
  await reader.button('New conversation').click();
  assert.equal(await reader.prompt.inputValue(), '');
  await reader.page.getByRole('link', { name: /^About rivers/ }).click();
  await reader.said.first().waitFor();
  assert.equal(await reader.prompt.inputValue(), 'And what');
});

test('a conversation that goes on in one tab goes on in the other', async (t) => {
  const server = await serve(t, STORY);
  const person = await Person.arrive(t, browser);
  const first = await person.open(server.url);
  await first.ask('Tell me a story');
  await first.state('Done');
  const second = await person.open(first.page.url());
  await second.state('Done');
  const before = second.hash;
  const id = await second.ask('And another');
  await first.id(before);
  await first.answers.nth(1).waitFor();
  await first.grown(50);
  await Promise.all([first.state('Done'), second.state('Done')]);
  assert.deepEqual(await first.said.allTextContents(), ['Tell me a story', 'And another']);
  assert.equal(await first.text(), await second.text());
  assert.equal((await first.kept())[0][1][1], await server.text(id));
});

test('the address of an earlier answer opens its conversation', async (t) => {
  const server = await serve(t, ECHO);
  const person = await Person.arrive(t, browser);
  const reader = await person.open(server.url);
  const first = await reader.ask('One');
  await reader.state('Done');
  await said(reader, 'Two');
  const again = await person.open(`${server.url}#${first}`);
  await again.answers.nth(1).waitFor();
  assert.deepEqual(await again.said.allTextContents(), ['One', 'Two']);
});

test('an answer that came as a link is read, and what is asked then is a conversation of its own', async (t) => {
  const server = await serve(t, ECHO);
  const first = await (await Person.arrive(t, browser)).open(server.url);
  await said(first, 'One');
  const other = await (await Person.arrive(t, browser)).open(first.page.url());
  await other.state('Done');
  assert.deepEqual(await other.kept(), []);
  assert.equal(await other.button('Edit this message').count(), 0);
  await said(other, 'Mine');
  assert.deepEqual(await other.said.allTextContents(), ['Mine']);
  assert.equal((await other.kept()).length, 1);
});

test('the model that was chosen and the options are sent, and remembered', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const models = [{ id: 'simulated', object: 'model', default: true }, { id: 'other', object: 'model' }];
  await reader.page.route('**/v1/models', (route) => route.fulfill({ json: { object: 'list', data: models } }));
  // The server has one model: what is asked of the other one is answered by it all the same.
  const bodies = [];
  await reader.page.route('**/ask', (route) => {
    const { model, ...body } = route.request().postDataJSON();
    bodies.push({ model, ...body });
    return route.continue({ postData: JSON.stringify(body) });
  });
  await reader.page.reload();
  const picker = reader.page.getByRole('combobox', { name: 'Model' });
  await picker.selectOption('other');
  await reader.button('Options').click();
  await reader.page.getByLabel('System prompt').fill('Be brief.');
  await reader.page.getByLabel('Temperature').fill('0.5');
  await reader.page.getByLabel('Max tokens').fill('64');
  await reader.page.getByLabel('Seed').fill('7');
  await said(reader, 'Hello');
  await reader.page.reload();
  await picker.waitFor();
  assert.equal(await picker.inputValue(), 'other');
  await reader.page.getByText('4 set').waitFor();
  await said(reader, 'Again');
  const options = { model: 'other', temperature: 0.5, max_tokens: 64, seed: 7 };
  for (const body of bodies) {
    assert.deepEqual(body.messages[0], { role: 'system', content: 'Be brief.' });
    assert.deepEqual(Object.fromEntries(Object.keys(options).map((name) => [name, body[name]])), options);
  }
  assert.equal(bodies.length, 2);
});

test('an option that cannot be sent is shown instead of sent', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const toggle = reader.page.getByRole('button', { name: /^Options/ });
  await toggle.click();
  await reader.page.getByLabel('Temperature').fill('3');
  await toggle.click();
  await reader.prompt.fill('Hello');
  await reader.button('Send').click();
  await reader.page.getByLabel('Temperature').waitFor();
  assert.equal(await reader.page.locator(':focus').getAttribute('name'), 'temperature');
  assert.equal(reader.hash, '');
});

test('a full storage is said, and costs nothing but the keeping', async (t) => {
  const server = await serve(t, ECHO);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await said(reader, 'Before');
  await reader.page.evaluate(() => {
    for (let size = 1 << 22; size > 0; size >>= 1) {
      for (let at = 0; ; at += 1) {
        try {
          localStorage.setItem(`other.${size}.${at}`, 'x'.repeat(size));
        } catch {
          break;
        }
      }
    }
  });
  await reader.button('New conversation').click();
  await said(reader, 'A message '.repeat(200), 'And another one');
  await reader.page.getByText(/^This browser has no room/).waitFor();
  assert.equal(await reader.answers.count(), 2);
  assert.deepEqual((await reader.kept()).map((turns) => turns[0][0]), ['Before']);
  const address = reader.hash;
  await reader.page.getByRole('link', { name: /^Before/ }).click();
  await reader.said.getByText('Before', { exact: true }).waitFor();
  await reader.page.goBack();
  await reader.answers.nth(1).waitFor();
  assert.equal(reader.hash, address, 'it lasts as long as the page');
});

test('a browser that forbids or has broken its storage has a page all the same', async (t) => {
  const server = await serve(t, ECHO);
  const person = await Person.arrive(t, browser);
  const breakIt = [
    () => Object.defineProperty(globalThis, 'localStorage', { get: () => { throw new DOMException('no', 'SecurityError'); } }),
    () => {
      for (const key of ['conversations', 'settings', 'model', 'theme']) localStorage.setItem(`tokenwire.${key}`, '{"broken');
    },
  ];
  for (const script of breakIt) {
    const reader = await person.open('about:blank');
    await reader.page.addInitScript(script);
    await reader.page.goto(server.url);
    await said(reader, 'One', 'Two');
    assert.deepEqual(await reader.said.allTextContents(), ['One', 'Two']);
  }
});
