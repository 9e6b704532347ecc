// Announcements for screen readers: states, results, and from time to time that an answer grows. The text itself is not
// announced.

/** How often it hears that an answer grows, in milliseconds. */
const PROGRESS = 15_000;

export class Announcer {
  #element;
  #lastAt = 0;

  /** @param {HTMLElement} element a live region */
  constructor(element) {
    this.#element = element;
  }

  say(words) {
    this.#lastAt = Date.now();
    this.#element.textContent = words;
  }

  /** Says the state of an answer. */
  state(answer, now) {
    const words = [`${answer.label}.`];
    if (answer.state === 'done') words.push(`${answer.figures(now).pieces} pieces.`);
    const notice = answer.notice(now);
    if (notice) words.push(notice);
    this.say(words.join(' '));
  }

  /** Says that an answer grows, when nothing was said for long. */
  progress(answer, now) {
    if (answer.state !== 'streaming' || now - this.#lastAt < PROGRESS) return;
    this.say(`Still streaming, ${answer.figures(now).pieces} pieces so far.`);
  }
}
