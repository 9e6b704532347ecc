// Edits an earlier message: a field in its place, until it is sent or cancelled.

import { fit, sends } from './field.js';

export class Editing {
  #said;
  #form;
  #on;

  /**
   * @param {HTMLElement} said what the message is shown in
   * @param {string} prompt
   * @param {{ replaces: boolean, send: (prompt: string) => void, end: () => void }} on
   */
  constructor(said, prompt, on) {
    this.#said = said;
    this.#on = on;
    this.#form = document.getElementById('editing').content.firstElementChild.cloneNode(true);
    this.#form.querySelector('.fine').hidden = !on.replaces;
    const field = this.#form.querySelector('textarea');
    field.value = prompt;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (field.value.trim() === '') field.focus();
      else on.send(field.value);
    });
    this.#form.querySelector('.cancel').addEventListener('click', () => this.#cancel());
    field.addEventListener('input', () => fit(field));
    field.addEventListener('keydown', (event) => {
      if (sends(event)) {
        event.preventDefault();
        this.#form.requestSubmit();
      } else if (event.key === 'Escape' && !event.isComposing) {
        event.stopPropagation(); // it ends the editing, and not an answer
        this.#cancel();
      }
    });
    said.classList.add('under-the-pen');
    said.append(this.#form);
    fit(field);
    field.focus();
    field.setSelectionRange(prompt.length, prompt.length);
  }

  #cancel() {
    this.#form.remove();
    this.#said.classList.remove('under-the-pen');
    this.#said.querySelector('.edit').focus();
    this.#on.end();
  }
}
