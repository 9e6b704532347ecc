// Follows the end of a page that grows, as long as the reader is there.

/** How close to the end counts as being there, in pixels. */
const NEAR = 48;

export class Follow {
  #onMove;
  #following = false;
  #lastTop = 0;
  #lastHeight = 0;

  /** @param {() => void} onMove after the reader's place has changed */
  constructor(onMove) {
    this.#onMove = onMove;
    addEventListener('scroll', () => this.#moved(), { passive: true });
    addEventListener('resize', () => this.#moved(), { passive: true });
  }

  get atEnd() {
    return scrollY + innerHeight >= height() - NEAR;
  }

  /** Goes to the end, and stays there while the page grows. */
  start() {
    this.#following = true;
    this.grown();
  }

  /** Stays where the reader is. */
  stop() {
    this.#following = false;
  }

  /** To be called when the page has grown. */
  grown() {
    if (this.#following && scrollY + innerHeight < height()) scrollTo({ top: height(), behavior: 'instant' });
    this.#onMove();
  }

  /** Upwards is the reader's wish to stay, unless the page became shorter; the end is the wish to go along. */
  #moved() {
    const [top, tall] = [scrollY, height()];
    if (top < this.#lastTop && tall >= this.#lastHeight) this.#following = false;
    else if (this.atEnd) this.#following = true;
    this.#lastTop = top;
    this.#lastHeight = tall;
    this.#onMove();
  }
}

function height() {
  return document.documentElement.scrollHeight;
}
