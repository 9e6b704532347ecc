// The conversation on the page: a view for each turn, in order.

import { TurnView } from './turn-view.js';

export class Transcript {
  #element;
  #on;
  /** @type {TurnView[]} */
  #views = [];

  /**
   * @param {HTMLElement} element
   * @param {object} on as for TurnView, but `edit` is also told the index of the turn
   */
  constructor(element, on) {
    this.#element = element;
    this.#on = on;
  }

  /** Shows these turns; the views of those that are shown already stay as they are. */
  render(turns) {
    const known = new Map(this.#views.map((view) => [view.turn, view]));
    this.#views = turns.map((turn) => known.get(turn) ?? this.#viewOf(turn));
    for (const [turn, view] of known) {
      if (turns.includes(turn)) continue;
      view.close();
      view.element.remove();
    }
    this.#views.forEach(({ element }, index) => {
      if (this.#element.children[index] !== element) this.#element.insertBefore(element, this.#element.children[index] ?? null);
    });
    this.show();
  }

  learn(turn, event, now) {
    this.#of(turn)?.learn(event, now);
  }

  /** Shows the states and figures of one turn, or of all, as they are now. */
  show(turn = null) {
    const now = Date.now();
    for (const view of this.#views) if (turn === null || view.turn === turn) view.show(now, view === this.#views.at(-1));
  }

  /** Brings a turn into view. */
  scrollTo(turn) {
    this.#of(turn)?.element.scrollIntoView({ block: 'start', behavior: 'instant' });
  }

  /** Puts the focus on the last answer. */
  focus() {
    this.#views.at(-1)?.focus();
  }

  #of(turn) {
    return this.#views.find((view) => view.turn === turn);
  }

  #viewOf(turn) {
    const { paint, announce, mayEdit, edit } = this.#on;
    const index = () => this.#views.findIndex((view) => view.turn === turn);
    return new TurnView(turn, { paint, announce, mayEdit, edit: (prompt) => edit(prompt, index()) });
  }
}
