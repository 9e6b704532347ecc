// The text of an answer on the page: text nodes only, painted once a frame, followed while the reader is at its end.
//
// A long answer is split into blocks, so that the browser lays out the last one again and not all of them: at line breaks,
// and within a paragraph that never ends, where its last line happens to begin. A block keeps its own line break, which
// `white-space: pre-wrap` does not show at a block's end: the text content of the element is the answer, exactly.

/** How many characters a block has before the next line break ends it. */
const BLOCK = 4_096;

/** How many it has before it ends without one. Laying out this much takes a few milliseconds. */
const LONGEST_BLOCK = 16_384;

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
    for (let from = 0; from < text.length; ) {
      if (!this.#tail || (this.#tail.length >= BLOCK && this.#tail.data.endsWith('\n'))) this.#open('');
      const lineEnd = text.indexOf('\n', from + Math.max(BLOCK - this.#tail.length, 0));
      const to = lineEnd < 0 ? text.length : lineEnd + 1;
      this.#tail.appendData(text.slice(from, to));
      from = to;
    }
    if (this.#tail?.length >= LONGEST_BLOCK) this.#splitAtLastLine();
    if (this.#following) this.#toEnd();
    this.#onPaint();
  }

  #open(text) {
    const block = document.createElement('div');
    this.#tail = document.createTextNode(text);
    block.append(this.#tail);
    this.#element.append(block);
  }

  /** Looks the same as before. After a change of width the line before the split may be shorter than it could be. */
  #splitAtLastLine() {
    const { data, length } = this.#tail;
    if (data.endsWith('\n')) return;
    const range = document.createRange();
    const top = (at) => {
      range.setStart(this.#tail, at);
      range.setEnd(this.#tail, at + 1);
      return range.getBoundingClientRect().top;
    };
    const lastTop = top(length - 1);
    let [low, high] = [0, length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (top(middle) < lastTop - 1) low = middle + 1;
      else high = middle;
    }
    if (/[\udc00-\udfff]/.test(data[low])) low -= 1; // never within a character
    if (low <= 0) return;
    this.#tail.deleteData(low, length - low);
    this.#open(data.slice(low));
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
