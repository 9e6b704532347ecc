// The generations that this device asked for, newest first, in localStorage: enough to list them, to show their prompt
// again, and to repeat a POST that a reload cut off. Text of answers is never stored here; the server has it.

const KEY = 'tokenwire.recents';
const MOST = 20;

/** Prompts longer than this are listed by their beginning and cannot be sent again after a reload. */
const LONGEST_PROMPT = 16_384;

export class Recents {
  #storage;

  /** @param {Storage | null} storage null where the browser forbids it: the list is then empty, and nothing else breaks. */
  constructor(storage) {
    this.#storage = storage;
  }

  list() {
    try {
      const entries = JSON.parse(this.#storage.getItem(KEY));
      return Array.isArray(entries) ? entries.filter((entry) => typeof entry?.id === 'string') : [];
    } catch {
      return [];
    }
  }

  get(id) {
    return this.list().find((entry) => entry.id === id) ?? null;
  }

  /** Adds a generation on top. */
  add({ id, query, askedAt }) {
    const whole = query.length <= LONGEST_PROMPT;
    const entry = { id, prompt: whole ? query : query.slice(0, LONGEST_PROMPT), whole, askedAt, accepted: false };
    this.#store([entry, ...this.list().filter((other) => other.id !== id)].slice(0, MOST));
  }

  /** Remembers more of a generation; one that is not listed stays unlisted. */
  update(id, more) {
    this.#store(this.list().map((entry) => (entry.id === id ? { ...entry, ...more } : entry)));
  }

  remove(id) {
    this.#store(this.list().filter((entry) => entry.id !== id));
  }

  clear() {
    this.#store([]);
  }

  /** Whether a storage event of another tab is about this list. */
  concerns(event) {
    return event.key === KEY || event.key === null;
  }

  #store(entries) {
    try {
      this.#storage.setItem(KEY, JSON.stringify(entries));
    } catch {
      // Full or forbidden. The list is a convenience.
    }
  }
}
