// The text of an answer on the page: text nodes only, painted once a frame, followed while the reader is at its end.
//
// A long answer is split into blocks at line breaks, so that the browser lays out the last one again and not all of them.
// A block keeps its own line break, which `white-space: pre-wrap` does not show at a block's end: the text content of the
// element is the answer, exactly.

const BLOCK = 4_096;

/** How close to the end counts as being there, in pixels. */
const NEAR = 48;

export class Text {
  #element;
  #onPaint;
  #pending = '';
  #frame = 0;
  #held = false;
  #tail = null;
  #following = false;
  #lastTop = 0;

  /**
   * @param {HTMLElement} element
   * @param {() => void} onPaint after the text or the reader's place in it has changed
   */
  constructor(element, onPaint) {
    this.#element = element;
    this.#onPaint = onPaint;
    addEventListener('scroll', () => this.#scrolled(), { passive: true });
    addEventListener('resize', () => this.#scrolled(), { passive: true });
  }

  append(text) {
    this.#pending += text;
    this.#schedule();
  }

  clear() {
    this.#pending = '';
    this.#tail = null;
    this.#element.replaceChildren();
    this.#lastTop = scrollY; // the page became shorter: that is not the reader scrolling up
    this.#onPaint();
  }

  /** Holds back what comes until `release`, so that a backlog is painted in one step. */
  hold() {
    this.#held = true;
  }

  release() {
    this.#held = false;
    if (this.#pending) this.#paint();
  }

  /** Everything so far, painted or not. */
  get value() {
    return this.#element.textContent + this.#pending;
  }

  /** Whether the end of the text is in view. */
  get atEnd() {
    return this.#element.getBoundingClientRect().bottom <= innerHeight + NEAR;
  }

  /** Goes to the end, and stays there while the text grows. */
  follow() {
    this.#following = true;
    this.#toEnd();
  }

  /** Empty, for another answer. */
  reset() {
    this.#held = false;
    this.#following = false;
    this.clear();
  }

  #schedule() {
    if (this.#held || this.#frame) return;
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#held) return;
    const text = this.#pending;
    this.#pending = '';
    let from = 0;
    while (from < text.length) {
      const room = BLOCK - (this.#tail?.length ?? BLOCK);
      if (room <= 0 && this.#endsLine()) this.#open();
      const lineEnd = text.indexOf('\n', from + Math.max(room, 0));
      const to = lineEnd < 0 ? text.length : lineEnd + 1;
      if (!this.#tail) this.#open();
      this.#tail.appendData(text.slice(from, to));
      from = to;
    }
    if (this.#following) this.#toEnd();
    this.#onPaint();
  }

  #endsLine() {
    return this.#tail === null || this.#tail.data.endsWith('\n');
  }

  #open() {
    const block = document.createElement('div');
    this.#tail = document.createTextNode('');
    block.append(this.#tail);
    this.#element.append(block);
  }

  #toEnd() {
    const below = this.#element.getBoundingClientRect().bottom - innerHeight;
    if (below > 0) scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
  }

  /** Upwards is the reader's wish to stay; the end is the wish to go along. */
  #scrolled() {
    const top = scrollY;
    if (top < this.#lastTop) this.#following = false;
    else if (this.atEnd) this.#following = true;
    this.#lastTop = top;
    this.#onPaint();
  }
}
