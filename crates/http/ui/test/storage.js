// A browser's storage with as much room as a test gives it, and one that is forbidden.

export class FakeStorage {
  #items = new Map();
  #room;

  constructor(room = Infinity) {
    this.#room = room;
  }

  getItem = (key) => this.#items.get(key) ?? null;

  setItem = (key, value) => {
    const others = [...this.#items].filter(([other]) => other !== key);
    const taken = others.reduce((sum, [other, text]) => sum + other.length + text.length, 0);
    if (taken + key.length + value.length > this.#room) throw new Error('QuotaExceededError');
    this.#items.set(key, value);
  };

  removeItem = (key) => this.#items.delete(key);

  get keys() {
    return [...this.#items.keys()];
  }
}

const forbidden = () => {
  throw new Error('SecurityError');
};

export const FORBIDDEN = { getItem: forbidden, setItem: forbidden, removeItem: forbidden };
