// Settings for later requests: instructions for the model and sampling options. Remembered on this device. An empty field
// means the model's default. The form and the server check ranges.

const KEY = 'tokenwire.settings';

/** The options of a request by the names of their fields in the form. */
const OPTIONS = { temperature: 'temperature', maxTokens: 'max_tokens', seed: 'seed' };

export class Settings {
  /** The fields, as text. */
  values = { system: '', temperature: '', maxTokens: '', seed: '' };

  #storage;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
    try {
      const kept = JSON.parse(storage.getItem(KEY));
      for (const name of Object.keys(this.values)) {
        if (typeof kept?.[name] === 'string') this.values[name] = kept[name];
      }
    } catch {
      // Nothing is remembered.
    }
  }

  set(name, value) {
    this.values[name] = value;
    try {
      this.#storage.setItem(KEY, JSON.stringify(this.values));
    } catch {
      // It holds for this page.
    }
  }

  get system() {
    return this.values.system;
  }

  /** How many are set. */
  get count() {
    return Object.values(this.values).filter((value) => value.trim() !== '').length;
  }

  /** The fields of a request. */
  get options() {
    const options = {};
    for (const [name, field] of Object.entries(OPTIONS)) {
      const value = this.values[name].trim();
      if (value !== '' && Number.isFinite(Number(value))) options[field] = Number(value);
    }
    return options;
  }
}
