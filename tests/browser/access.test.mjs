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
  const used = new Set(['button', 'link', 'textbox', 'region', 'navigation', 'complementary']);
  return nodes
    .filter(({ ignored, role }) => !ignored && used.has(role?.value))
    .map(({ role, name }) => ({ role: role.value, name: name?.value ?? '' }));
}

const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim());

test('everything can be done from the keyboard', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const { keyboard } = reader.page;
  assert.equal(await focused(reader.page), 'prompt');
  await keyboard.type('One line');
  await keyboard.press('Shift+Enter');
  await keyboard.type('and another');
  assert.equal(await reader.prompt.inputValue(), 'One line\nand another');
  await keyboard.press('Enter');
  await reader.grown(0);
  assert.equal(await focused(reader.page), 'answer');
  await reader.button('Copy the answer').waitFor();
  await keyboard.press('Tab');
  assert.equal(await focused(reader.page), 'copy');
  await keyboard.press('Escape');
  await reader.state('Cancelled');
  await keyboard.press('Tab');
  await keyboard.press('Tab');
  assert.equal(await focused(reader.page), 'again');
  await keyboard.press('Enter');
  await reader.grown(0);
  await reader.button('Copy the answer').waitFor();
  for (let tabs = 0; tabs < 3; tabs += 1) await keyboard.press('Tab');
  assert.equal(await focused(reader.page), 'stop');
  await keyboard.press('Space');
  await reader.state('Cancelled');
  assert.equal(await focused(reader.page), 'answer', 'the focus is not lost with the button');
});

test('Ctrl+Enter starts too, and the composition of a character does not', async (t) => {
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
  await reader.button('Start').click({ force: true });
  assert.equal(new URL(reader.page.url()).hash, '');
});

test('every control has a name, at home and in an answer', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const home = await controls(reader.page);
  await reader.ask('Count to infinity');
  await reader.button('Copy the answer').waitFor();
  const answer = await controls(reader.page);
  for (const { role, name } of [...home, ...answer]) assert.notEqual(name.trim(), '', `a ${role} without a name`);
  const has = (list, role, name) => assert.ok(list.some((one) => one.role === role && one.name === name), `${role} "${name}"`);
  has(home, 'textbox', 'Prompt');
  has(home, 'button', 'Start');
  has(answer, 'button', 'Stop');
  has(answer, 'button', 'Copy the answer');
  has(answer, 'region', 'Answer');
  has(answer, 'complementary', 'Recent');
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
  assert.equal(await reader.page.locator('#text').evaluate((text) => text.closest('[aria-live]')), null);
});

test('a phone has no sideways scrolling and reaches every button', async (t) => {
  const server = await serve(t, ['--simulated-delay', '1ms']);
  const reader = await (await Person.arrive(t, browser, PHONE)).open(server.url);
  const fits = () => document.documentElement.scrollWidth <= innerWidth && innerWidth === 360;
  assert.equal(await reader.page.evaluate(fits), true, 'at home');
  await reader.ask(`${'unbroken'.repeat(40)} <pre>${'\t'.repeat(60)}`);
  await reader.state('Done');
  assert.equal(await reader.page.evaluate(fits), true, 'in an answer');
  for (const button of await reader.page.getByRole('button').all()) {
    const { x, width } = await button.boundingBox();
    assert.ok(x >= 0 && x + width <= 360, await button.getAttribute('id'));
  }
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

test('the list of recent prompts can be cleared', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.ask('Tell me a story');
  await reader.state('Done');
  const recent = reader.page.getByRole('link', { name: /^Tell me a story Done/ });
  await recent.waitFor();
  await reader.button('Clear the list of recent prompts').click();
  await recent.waitFor({ state: 'detached' });
  assert.equal(await reader.page.evaluate(() => localStorage.getItem('tokenwire.recents')), '[]');
});
