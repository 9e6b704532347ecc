// Where a message is written: the field, the model and options that it is sent with, Send, and Stop while an answer is written.

import { fit, invite, sends } from './field.js';

const $ = (id) => document.getElementById(id);

export class Composer {
  #form = $('composer');
  #prompt = $('prompt');
  #settings;
  #models;
  #busy = false;

  /** @param {{ settings: Settings, models: Models, send: (prompt: string) => void, stop: () => void }} parts */
  constructor({ settings, models, send, stop }) {
    this.#settings = settings;
    this.#models = models;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#sendable) send(this.#prompt.value);
      else this.#prompt.focus();
    });
    this.#prompt.addEventListener('input', () => {
      this.complain(null);
      this.#fitted();
    });
    this.#prompt.addEventListener('keydown', (event) => {
      if (!sends(event)) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    $('stop').addEventListener('click', stop);
    this.#bindOptions();
    $('model').addEventListener('change', ({ target }) => models.choose(target.value));
  }

  get value() {
    return this.#prompt.value;
  }

  set value(text) {
    this.#prompt.value = text;
    this.complain(null);
    this.#fitted();
  }

  /** Whether what is set can be sent; if not, the reader is shown what is wrong. */
  checks() {
    return this.#form.reportValidity();
  }

  /** Says why the server did not take the message, or with null nothing any more. */
  complain(message) {
    const complaint = $('complaint');
    complaint.hidden = message === null;
    complaint.textContent = message ?? '';
    if (message === null) this.#prompt.removeAttribute('aria-invalid');
    else this.#prompt.setAttribute('aria-invalid', 'true');
  }

  /** Shows whether an answer is being written here, and whether it is being stopped. */
  show({ active, stopping, placeholder }) {
    this.#busy = active;
    // Whoever stopped it, or waited for it with the focus on the button, goes on in the field.
    const hadFocus = document.activeElement === $('stop');
    $('stop').hidden = !active;
    $('stop').setAttribute('aria-disabled', String(stopping));
    $('send').hidden = active;
    if (hadFocus && !active) this.#prompt.focus({ preventScroll: true });
    this.#prompt.placeholder = placeholder;
    this.#fitted();
  }

  /** Shows the models that the server has named. */
  showModels() {
    const { names, chosen } = this.#models;
    $('model-label').hidden = names.length === 0;
    $('model').replaceChildren(...names.map((name) => new Option(name, name, name === chosen, name === chosen)));
  }

  invite() {
    invite(this.#prompt);
  }

  focus() {
    this.#prompt.focus();
  }

  /** Away from a touch keyboard, which covers the answer. */
  leave() {
    if (matchMedia('(pointer: coarse)').matches) this.#prompt.blur();
  }

  get #sendable() {
    return !this.#busy && this.#prompt.value.trim() !== '';
  }

  #fitted() {
    fit(this.#prompt);
    $('send').setAttribute('aria-disabled', String(!this.#sendable));
  }

  #bindOptions() {
    const [panel, toggle] = [$('options'), $('options-toggle')];
    const open = (opened) => {
      panel.hidden = !opened;
      toggle.setAttribute('aria-expanded', String(opened));
    };
    toggle.addEventListener('click', () => open(panel.hidden));
    // Opens the options to show a value that cannot be sent.
    panel.addEventListener('invalid', () => open(true), { capture: true });
    for (const field of panel.querySelectorAll('input, textarea')) {
      field.value = this.#settings.values[field.name];
      field.addEventListener('input', () => {
        this.#settings.set(field.name, field.value);
        this.#countOptions();
      });
    }
    this.#countOptions();
  }

  #countOptions() {
    const { count } = this.#settings;
    $('options-count').hidden = count === 0;
    $('options-count').textContent = `${count} set`;
  }
}
