// The text of an answer on the page: Markdown, painted at most once a frame, finished blocks never again.

import { Blocks } from './blocks.js';
import { blocks, elementOf } from './markdown.js';
import { put, trim } from './patch.js';

/** A block that takes longer than this to paint, in milliseconds, is painted less often the longer it takes... */
const CHEAP = 4;

/** ...so that painting leaves at least this many times as long for everything else. */
const REST = 4;

export class Prose {
  #element;
  #onPaint;
  #blocks = new Blocks(blocks);
  #pending = '';
  #finished = 0;
  #frame = 0;
  #held = false;
  #restUntil = 0;

  /**
   * @param {HTMLElement} element
   * @param {() => void} onPaint after the text on the page has changed
   */
  constructor(element, onPaint) {
    this.#element = element;
    this.#onPaint = onPaint;
  }

  append(text) {
    this.#pending += text;
    this.#schedule();
  }

  clear() {
    this.#pending = '';
    this.#blocks = new Blocks(blocks);
    this.#finished = 0;
    this.#element.replaceChildren();
    this.#onPaint();
  }

  /** Holds back what comes until `release`, so that a backlog is painted in one step. */
  hold() {
    this.#held = true;
  }

  /** Paints what there is. */
  release() {
    this.#held = false;
    if (this.#pending) this.#paint();
  }

  #schedule() {
    if (this.#held || this.#frame) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (now < this.#restUntil) this.#schedule();
      else if (!this.#held && this.#pending) this.#paint();
    });
  }

  #paint() {
    const began = performance.now();
    const { finished, growing } = this.#blocks.push(this.#pending);
    this.#pending = '';
    for (const block of finished) {
      put(this.#element, this.#finished, elementOf(block));
      this.#finished += 1;
    }
    growing.forEach((block, index) => put(this.#element, this.#finished + index, elementOf(block)));
    trim(this.#element, this.#finished + growing.length);
    this.#onPaint();
    const took = performance.now() - began;
    this.#restUntil = took > CHEAP ? began + took * (1 + REST) : 0;
  }
}
