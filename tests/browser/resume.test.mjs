// What happens to an answer when the page, the tab, the device, the network or the server goes away.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { BROKEN, launch, letters, Person } from './browser.mjs';
import { ENDLESS, serve } from './server.mjs';

const browser = await launch();
after(() => browser.close());

test('a reload in mid-answer goes on where it was, the backlog in one step', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  const id = await reader.ask('Tell me a story');
  const before = await reader.grown(200);
  await reader.page.addInitScript(() => {
    // How much was there when there was something for the first time.
    addEventListener('DOMContentLoaded', () => {
      const text = document.getElementById('transcript');
      const observer = new MutationObserver(() => {
        globalThis.firstPaint ??= text.querySelector('.prose')?.textContent || undefined;
        if (globalThis.firstPaint) observer.disconnect();
      });
      observer.observe(text, { childList: true, subtree: true, characterData: true });
    });
  });
  await reader.page.reload();
  await reader.grown(before.length);
  const firstPaint = await reader.page.evaluate(() => globalThis.firstPaint);
  assert.ok(firstPaint.startsWith(before), `painted ${firstPaint.length} of ${before.length} characters at first`);
  assert.deepEqual(await reader.said.allTextContents(), ['Tell me a story']);
  await reader.state('Done');
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
  assert.equal(letters(await reader.text()), letters(await server.text(id)));
  assert.equal(await reader.id(), id);
});

test('a second tab follows the same answer live', async (t) => {
  const server = await serve(t, ENDLESS);
  const person = await Person.arrive(t, browser);
  const first = await person.open(server.url);
  const id = await first.ask('Count to infinity');
  const before = await first.grown(50);
  const second = await person.open(first.page.url());
  const early = await second.grown(0);
  assert.ok(early.startsWith(before));
  await second.grown(early.length);
  await second.button('Stop').click();
  await Promise.all([first.state('Cancelled'), second.state('Cancelled')]);
  assert.equal(await second.text(), await first.text());
  assert.equal(letters(await second.text()), letters(await server.text(id)));
});

test('a link opens the answer on another device', async (t) => {
  const server = await serve(t);
  const first = await (await Person.arrive(t, browser)).open(server.url);
  await first.ask('Tell me a story');
  await first.grown(50);
  const second = await (await Person.arrive(t, browser)).open(first.page.url());
  await Promise.all([first.state('Done'), second.state('Done')]);
  assert.equal(await second.text(), await first.text());
});

test('a killed server shows as reconnecting, and the answer goes on exactly when it is back', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  const id = await reader.ask('Tell me a story');
  await reader.grown(100);
  await server.kill();
  await reader.state('Reconnecting');
  const before = await reader.text();
  await reader.page.getByText(/^The connection is lost\. Trying again/).waitFor();
  await server.start();
  await reader.grown(before.length);
  await reader.state('Done');
  const whole = await reader.text();
  assert.ok(whole.startsWith(before));
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
  assert.equal(await reader.figure('Pieces'), '200');
});

test('a prompt that is sent while the server is away arrives when it is back', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  await server.kill();
  const id = await reader.ask('Tell me a story');
  await reader.state('Reconnecting');
  await server.start();
  await reader.state('Done');
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
});

test('a reload before the server took the prompt sends it all the same', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  await reader.page.route('**/ask', (route) => route.abort());
  const id = await reader.ask('Tell me a story');
  await reader.state('Reconnecting');
  await reader.page.unroute('**/ask');
  await reader.page.reload();
  await reader.state('Done');
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
});

test('a network that went away and came back goes on with the answer', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  const id = await reader.ask('Tell me a story');
  await reader.grown(100);
  // A cut of what is open, and no new connections: what a reader in a tunnel has.
  await reader.page.route('**/ask/**', (route) => route.abort('internetdisconnected'));
  await server.kill();
  await server.start();
  await reader.state('Reconnecting');
  await reader.page.unroute('**/ask/**');
  await reader.page.evaluate(() => dispatchEvent(new Event('online')));
  await reader.state('Done');
  assert.deepEqual(await reader.kept(), [[['Tell me a story', await server.text(id)]]]);
});

test('the back button goes from conversation to conversation', async (t) => {
  const server = await serve(t);
  const reader = await (await Person.arrive(t, browser)).open(server.url);
  await reader.ask('The first story');
  await reader.state('Done');
  const first = await reader.ask('And its end');
  await reader.state('Done');
  await reader.button('New conversation').click();
  const second = await reader.ask('The second story');
  await reader.state('Done');
  await reader.page.goBack();
  await reader.page.getByRole('heading', { name: 'Every word arrives.' }).waitFor();
  await reader.page.goBack();
  await reader.said.nth(1).waitFor();
  assert.deepEqual(await reader.said.allTextContents(), ['The first story', 'And its end']);
  assert.equal(letters(await reader.text()), letters(await server.text(first)));
  await reader.page.getByRole('link', { name: /^The second story/ }).click();
  await reader.page.waitForFunction((id) => location.hash === `#${id}`, second);
  assert.deepEqual(await reader.said.allTextContents(), ['The second story']);
  assert.equal(letters(await reader.text()), letters(await server.text(second)));
});

test('a link to nothing says that the answer is gone', async (t) => {
  const server = await serve(t);
  const person = await Person.arrive(t, browser, { allowed: BROKEN });
  const reader = await person.open(`${server.url}#0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3`);
  await reader.state('Gone');
});

test('what this browser had of an answer stays when the server has lost it', async (t) => {
  const server = await serve(t, ENDLESS);
  const reader = await (await Person.arrive(t, browser, { allowed: BROKEN })).open(server.url);
  await reader.ask('Count to infinity');
  const before = await reader.grown(50);
  await reader.page.route('**/ask/*', (route) => route.fulfill({ status: 404, json: { error: { message: 'no such generation' } } }));
  await reader.page.reload();
  await reader.state('Gone');
  assert.ok((await reader.text()).startsWith(before));
});

test('a long answer is followed, until the reader scrolls up', async (t) => {
  const server = await serve(t, [...ENDLESS.slice(0, 2), '--simulated-delay', '2ms']);
  const reader = await (await Person.arrive(t, browser, { viewport: { width: 800, height: 600 } })).open(server.url);
  await reader.ask('Count to infinity');
  const atEnd = () => scrollY + innerHeight >= document.documentElement.scrollHeight - 48;
  await reader.page.waitForFunction(() => scrollY > 200);
  assert.equal(await reader.page.evaluate(atEnd), true);
  await reader.page.mouse.move(400, 300);
  await reader.page.mouse.wheel(0, -150);
  await reader.button('Jump to latest').waitFor();
  const stays = await reader.page.evaluate(() => scrollY);
  await reader.grown((await reader.text()).length + 500);
  assert.equal(await reader.page.evaluate(() => scrollY), stays);
  await reader.button('Jump to latest').click();
  await reader.page.waitForFunction((top) => scrollY > top, stays);
  await reader.button('Jump to latest').waitFor({ state: 'hidden' });
});
