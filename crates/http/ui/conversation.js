// A conversation: turns in order, and what is sent for the next one.
//
// The server knows no conversations, only generations: each request contains the whole conversation. An edit or a new answer
// replaces what follows it.

import { excerpt } from './format.js';
import { freshId } from './ids.js';
import { Turn } from './turn.js';

const LONGEST_TITLE = 80;

export class Conversation {
  id;
  /** @type {Turn[]} */
  turns;
  /** When the last message was sent. */
  askedAt;

  constructor({ id = freshId(), turns = [], askedAt = 0 } = {}) {
    Object.assign(this, { id, turns, askedAt });
  }

  /** An answer that was opened by a link. */
  static ofLink(generation) {
    return new Conversation({ turns: [new Turn({ id: generation })] });
  }

  /** A conversation as `kept` gave it out, or null when something else is stored there. */
  static recall(kept) {
    if (typeof kept?.id !== 'string' || !Array.isArray(kept.turns)) return null;
    const turns = kept.turns.map((turn) => Turn.recall(turn));
    return turns.length > 0 && turns.every(Boolean) ? new Conversation({ ...kept, turns }) : null;
  }

  kept() {
    const { id, askedAt, turns } = this;
    return { id, askedAt, turns: turns.map((turn) => turn.kept()) };
  }

  get title() {
    const prompt = this.turns[0]?.prompt;
    return prompt ? excerpt(prompt, LONGEST_TITLE) : 'Shared answer';
  }

  get last() {
    return this.turns.at(-1) ?? null;
  }

  get active() {
    return this.turns.some((turn) => turn.active);
  }

  /** Whether it can go on: only who knows the prompts can. */
  get isOwn() {
    return this.turns.every(({ prompt }) => prompt !== null);
  }

  /** Whether one of its answers is this generation. */
  has(generation) {
    return this.turns.some(({ id }) => id === generation);
  }

  /**
   * Asks in the place of the turn at `index`, which goes with all that follow it; by default after the last one.
   *
   * @param {string} prompt
   * @param {{ system?: string, model?: string, options?: object, now: number, index?: number }} how
   * @returns {{ turn: Turn, replaced: Turn[] }}
   */
  ask(prompt, { system = '', model, options = {}, now, index = this.turns.length }) {
    const request = { ...this.#said(prompt, system, index), ...(model ? { model } : {}), ...options };
    const turn = Turn.ask({ prompt, request, now });
    const replaced = this.turns.splice(index, Infinity, turn);
    for (const old of replaced) old.close();
    this.askedAt = now;
    return { turn, replaced };
  }

  /** The first prompt alone is sent as one. What was written of a stopped or failed answer was said; nothing was not. */
  #said(prompt, system, index) {
    const messages = [];
    if (system.trim()) messages.push({ role: 'system', content: system });
    for (const turn of this.turns.slice(0, index)) {
      messages.push({ role: 'user', content: turn.prompt });
      if (turn.answer.text.trim()) messages.push({ role: 'assistant', content: turn.answer.text });
    }
    if (messages.length === 0) return { query: prompt };
    return { messages: [...messages, { role: 'user', content: prompt }] };
  }
}
