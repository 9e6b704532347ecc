// A real browser, and the page as a reader uses it.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

import { atEnd } from './cleanup.mjs';

const EXECUTABLE = process.env.TOKENWIRE_CHROMIUM ?? '/usr/bin/chromium';

/** A browser that talks to the page's server and to nobody else. Its profile is empty and goes with it. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** What the browser itself writes to the console when a connection breaks or a request is refused: part of those tests. */
export const BROKEN = /^Failed to load resource: /;

/** One browser for a file's tests. */
export function launch() {
  return chromium.launch({ executablePath: EXECUTABLE, headless: true, args: FLAGS });
}

/** A person with a browser of their own: what one tab stores, their other tabs see. */
export class Person {
  #context;
  #allowed;
  #complaints = [];

  /** @param {RegExp} [options.allowed] console errors that belong to the test */
  static async arrive(test, browser, { allowed = null, ...options } = {}) {
    const person = new Person();
    person.#allowed = allowed;
    person.#context = await browser.newContext(options);
    person.#context.setDefaultTimeout(30_000);
    await person.#context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
    });
    atEnd(test, async () => {
      await person.#context.close();
      assert.deepEqual(person.#complaints, [], 'the console has no errors');
    });
    return person;
  }

  async open(url) {
    const page = await this.#context.newPage();
    page.on('pageerror', (error) => this.#complaints.push(String(error)));
    page.on('console', (message) => {
      const complaint = message.type() === 'error' || message.type() === 'warning';
      if (complaint && !this.#allowed?.test(message.text())) this.#complaints.push(message.text());
    });
    await page.goto(url);
    return new Reader(page);
  }
}

/** A text without its white space, which Markdown does not keep between blocks. */
export function letters(text) {
  return text.replace(/\s+/g, '');
}

/** One tab. */
export class Reader {
  constructor(page) {
    this.page = page;
    this.prompt = page.getByRole('textbox', { name: 'Prompt', exact: true });
    this.said = page.locator('.bubble');
    this.answers = page.getByRole('region', { name: 'Answer' });
    this.answer = this.answers.last();
    this.conversations = page.getByRole('navigation', { name: 'Conversations' });
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  /** Asks, and returns the id of the generation. */
  async ask(query) {
    const before = this.hash;
    await this.prompt.fill(query);
    await this.button('Send').first().click();
    return this.id(before);
  }

  get hash() {
    return new URL(this.page.url()).hash;
  }

  /** The generation that the address names, once it is another than before. */
  async id(before = '') {
    await this.page.waitForFunction((old) => location.hash.length > 1 && location.hash !== old, before);
    return this.hash.slice(1);
  }

  /** The text of the last answer as it is shown. */
  text() {
    return this.page.evaluate(() => [...document.querySelectorAll('.prose')].at(-1).textContent);
  }

  /** What this browser keeps: the conversations, newest first, each as [prompt, text] pairs. */
  kept() {
    return this.page.evaluate(() => {
      const entries = JSON.parse(localStorage.getItem('tokenwire.conversations')) ?? [];
      const bodies = entries.map(({ id }) => JSON.parse(localStorage.getItem(`tokenwire.conversation.${id}`)));
      return bodies.map(({ turns }) => turns.map(({ prompt, answer }) => [prompt, answer.text]));
    });
  }

  figure(name) {
    return this.answer.locator('dl div', { hasText: name }).locator('dd').textContent();
  }

  /** Waits for a state as the chip says it. */
  async state(label) {
    await this.answer.getByText(label, { exact: true }).first().waitFor();
  }

  /** Waits until the last answer shows more than this many characters. */
  async grown(length) {
    await this.page.waitForFunction(
      (least) => [...document.querySelectorAll('.prose')].at(-1)?.textContent.length > least,
      length,
    );
    return this.text();
  }
}
