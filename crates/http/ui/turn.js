// One prompt and its answer, and the stream that brings it.
//
// A turn outlives the view of it: an answer goes on to be read while another conversation is on the page. No DOM here.

import { Answer } from './answer.js';
import { freshId } from './ids.js';
import { AnswerStream } from './stream.js';

export class Turn {
  /** The generation: what the address bar names. */
  id;
  /** Null for an answer that came as a link: the prompt is not in it. */
  prompt;
  /** The name of the model, or null for the server's choice. */
  model;
  /** @type {Answer} */
  answer;
  /** What was sent, until the server is known to have it: a reload may have cut the POST off, and repeating it is harmless. */
  request;

  #stream = null;

  constructor({ id = freshId(), prompt = null, model = null, request = null, answer = new Answer() }) {
    Object.assign(this, { id, prompt, model, request, answer });
  }

  /** @param {{ prompt: string, request: object, now: number }} asked */
  static ask({ prompt, request, now }) {
    const answer = new Answer({ phase: 'sending', askedAt: now });
    return new Turn({ prompt, model: request.model ?? null, request, answer });
  }

  /** A turn as `kept` gave it out, or null when something else is stored there. */
  static recall(kept) {
    if (typeof kept?.id !== 'string' || typeof kept.prompt !== 'string') return null;
    const answer = Answer.recall(kept.request ? { ...kept.answer, phase: 'sending' } : kept.answer);
    return answer && new Turn({ ...kept, answer });
  }

  kept() {
    const { id, prompt, model, request, answer } = this;
    return { id, prompt, model, ...(request && answer.active ? { request } : {}), answer: answer.kept() };
  }

  get active() {
    return this.answer.active;
  }

  /**
   * Reads the answer until it has ended.
   *
   * @param {(event: object, now: number) => void} on told every event of stream.js, after the answer knows it
   */
  follow(on) {
    if (this.#stream || !this.active) return;
    this.#stream = new AnswerStream({
      id: this.id,
      request: this.request,
      on: (event) => {
        const now = Date.now();
        this.answer.apply(event, now);
        if (event.type === 'accepted') this.request = null;
        on(event, now);
      },
    });
    this.#stream.run();
  }

  /** Asks the server to stop; the answer then ends as cancelled. */
  stop() {
    this.#stream?.stop();
  }

  /** Tries at once what it would try later. */
  wake() {
    this.#stream?.wake();
  }

  /** Stops reading. After a while the server stops an answer without readers. */
  close() {
    this.#stream?.close();
    this.#stream = null;
  }
}
