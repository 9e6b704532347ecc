// The page for everybody: by keyboard, by screen reader, on a phone, without animation.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { launch, Person, PHONE } from './browser.mjs';
import { ENDLESS, serve, STORY } from './server.mjs';

const browser = await launch();
after(() => browser.close());

/** Every element that a screen reader offers for use, with its role and name. */
async function controls(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const used = new Set(['button', 'link', 'textbox', 'combobox', 'spinbutton', 'region', 'navigation', 'complementary']);
  return nodes
    .filter(({ ignored, role }) => !ignored && used.has(role?.value))
    .map(({ role, name }) => ({ role: role.value, name: name?.value ?? '' }));
}

const focused = (page) =>
  page.evaluate(() => {
    const { ariaLabel, id, textContent } = document.activeElement;
    return ariaLabel || id || textContent.trim();
  });

test('everything can be done from the keyboard', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const { keyboard } = reader.page;
  const back = async (name) => {
    for (let tabs = 0; (await focused(reader.page)) !== name; tabs += 1) {
      assert.ok(tabs < 12, `no way back to ${name}`);
      await keyboard.press('Shift+Tab');
    }
  };
  assert.equal(await focused(reader.page), 'prompt');
  await keyboard.type('One line');
  await keyboard.press('Shift+Enter');
  await keyboard.type('and another');
  assert.equal(await reader.prompt.inputValue(), 'One line\nand another');
  await keyboard.press('Enter');
  await reader.grown(0);
  assert.equal(await focused(reader.page), 'prompt', 'the next message can be written');
  await keyboard.press('Escape');
  await reader.state('Cancelled');
  await back('Ask again');
  await keyboard.press('Enter');
  await reader.grown(0);
  assert.equal(await focused(reader.page), 'Answer', 'the focus is not lost with the button');
  await reader.button('Stop').focus();
  await keyboard.press('Space');
  await reader.state('Cancelled');
  assert.equal(await focused(reader.page), 'prompt', 'the focus is not lost with the button');
  await back('Edit this message');
  await keyboard.press('Enter');
  assert.equal(await focused(reader.page), 'Edit your message');
  await keyboard.type('!');
  await keyboard.press('Escape');
  assert.equal(await focused(reader.page), 'Edit this message');
  assert.deepEqual(await reader.said.allTextContents(), ['One line\nand another']);
  await keyboard.press('Enter');
  await keyboard.type('!');
  await keyboard.press('Enter');
  await reader.grown(0);
  assert.deepEqual(await reader.said.allTextContents(), ['One line\nand another!']);
});

test('Ctrl+Enter sends too, and the composition of a character does not', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.prompt.fill('Hello');
  await reader.prompt.dispatchEvent('keydown', { key: 'Enter', isComposing: true });
  assert.equal(new URL(reader.page.url()).hash, '');
  await reader.prompt.press('Control+Enter');
  await reader.state('Done');
});

test('an empty prompt is not sent', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.prompt.fill('   ');
  await reader.prompt.press('Enter');
  await reader.button('Send').click({ force: true });
  assert.equal(new URL(reader.page.url()).hash, '');
});

test('every control has a name, at home and in an answer', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.page.getByRole('combobox', { name: 'Model' }).waitFor();
  const home = await controls(reader.page);
  await reader.ask('Count to infinity');
  await reader.button('Copy the answer').waitFor();
  const answer = await controls(reader.page);
  for (const { role, name } of [...home, ...answer]) assert.notEqual(name.trim(), '', `a ${role} without a name`);
  const has = (list, role, name) => assert.ok(list.some((one) => one.role === role && one.name === name), `${role} "${name}"`);
  has(home, 'textbox', 'Prompt');
  has(home, 'button', 'Send');
  has(home, 'combobox', 'Model');
  has(home, 'button', 'Options');
  has(answer, 'button', 'Stop');
  has(answer, 'button', 'Copy the answer');
  has(answer, 'button', 'Edit this message');
  has(answer, 'region', 'Answer');
  has(answer, 'navigation', 'Conversations');
  has(answer, 'button', 'Delete “Count to infinity”');
});

test('a screen reader hears the states and not every word', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.page.evaluate(() => {
    globalThis.heard = [];
    const announcer = document.querySelector('[role="status"]');
    new MutationObserver(() => globalThis.heard.push(announcer.textContent)).observe(announcer, { childList: true });
  });
  await reader.ask('Tell me a story');
  await reader.page.waitForFunction(() => globalThis.heard.at(-1)?.startsWith('Done'));
  const heard = await reader.page.evaluate(() => globalThis.heard);
  assert.ok(heard.includes('Streaming.'), heard.join(' | '));
  assert.equal(heard.at(-1), 'Done. 200 pieces.');
  assert.ok(heard.length <= 5, heard.join(' | '));
  assert.equal(await reader.page.locator('.prose').evaluate((text) => text.closest('[aria-live], [role="log"]')), null);
});

test('a phone has no sideways scrolling and reaches every button', async (t) => {
  const server = await serve(t, ['--simulated-delay', '1ms']);
  const reader = await (await Person.arrive(t, browser, PHONE)).open(server.url);
  const fits = () => document.documentElement.scrollWidth <= innerWidth && innerWidth === 360;
  assert.equal(await reader.page.evaluate(fits), true, 'at home');
  await reader.ask(`${'unbroken'.repeat(40)} <pre>${'\t'.repeat(60)}`);
  await reader.state('Done');
  assert.equal(await reader.page.evaluate(fits), true, 'in an answer');
  const reached = async () => {
    for (const button of await reader.page.getByRole('button').all()) {
      const { x, width } = await button.boundingBox();
      assert.ok(x >= 0 && x + width <= 360, await button.innerText());
    }
  };
  await reached();
  await reader.button('Options').click();
  assert.equal(await reader.page.evaluate(fits), true, 'with options');
  await reached();
});

test('on a phone the conversations are in a drawer', async (t) => {
  const server = await serve(t, STORY);
  const reader = await (await Person.arrive(t, browser, PHONE)).open(server.url);
  await reader.ask('Tell me a story');
  await reader.grown(0);
  assert.equal(await reader.conversations.isVisible(), false);
  await reader.button('Show the conversations').click();
  await reader.page.getByRole('link', { name: /^Tell me a story/ }).waitFor();
  assert.equal(await focused(reader.page), 'Close the conversations');
  await reader.page.keyboard.press('Escape');
  await reader.conversations.waitFor({ state: 'hidden' });
  assert.equal(await focused(reader.page), 'Show the conversations');
  await reader.state('Done');
  await reader.button('Show the conversations').click();
  await reader.button('New conversation').click();
  await reader.conversations.waitFor({ state: 'hidden' });
  await reader.page.getByRole('heading', { name: 'Every word arrives.' }).waitFor();
});

test('on a touch keyboard Enter is a new line', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, PHONE)).open(server.url);
  await reader.prompt.fill('Hello');
  await reader.prompt.press('Enter');
  assert.equal(await reader.prompt.inputValue(), 'Hello\n');
});

test('who wants less motion gets none', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser, { reducedMotion: 'reduce' })).open(server.url);
  await reader.ask('Count to infinity');
  await reader.grown(0);
  assert.equal(await reader.page.evaluate(() => document.getAnimations().length), 0);
});

test('light and dark can be chosen, and the choice survives a reload', async (t) => {
  const server = await serve(t, STORY);
  const reader = await (await Person.arrive(t, browser, { colorScheme: 'light' })).open(server.url);
  const ground = () => reader.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await reader.button('Switch between light and dark').click();
  const dark = await ground();
  assert.notEqual(dark, light);
  await reader.page.reload();
  assert.equal(await ground(), dark);
});
