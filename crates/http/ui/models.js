// The models that the server offers, and the one that the reader chose: remembered by name, for as long as it is offered.

const KEY = 'tokenwire.model';

export class Models {
  /** @type {string[]} empty until the server has said what there is; requests then leave the choice to it. */
  names = [];

  #storage;
  #fetch;
  #default = null;
  #choice = null;

  /** @param {Storage | null} storage */
  constructor(storage, fetch = globalThis.fetch.bind(globalThis)) {
    this.#storage = storage;
    this.#fetch = fetch;
    try {
      this.#choice = storage.getItem(KEY);
    } catch {
      // No storage: the choice holds for this page.
    }
  }

  /** Asks the server. Returns whether it has answered; the caller may try again later. */
  async load() {
    try {
      const response = await this.#fetch('/v1/models', { cache: 'no-store' });
      const { data } = await response.json();
      const models = data.filter(({ id }) => typeof id === 'string');
      this.names = models.map(({ id }) => id);
      this.#default = (models.find((model) => model.default) ?? models[0])?.id ?? null;
      return response.ok;
    } catch {
      return false;
    }
  }

  /** The name to ask for, or null to leave it to the server. */
  get chosen() {
    return this.names.includes(this.#choice) ? this.#choice : this.#default;
  }

  choose(name) {
    this.#choice = name;
    try {
      this.#storage.setItem(KEY, name);
    } catch {
      // It holds for this page.
    }
  }
}
