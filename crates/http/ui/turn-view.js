// A turn on the page: what was said, the answer as it grows, its state and figures, and what can be done with it.
//
// answer.js has the state of the answer; this shows it. Buttons send intents to the transcript.

import { copy } from './clipboard.js';
import { Editing } from './editing.js';
import { codeBlock } from './markdown.js';
import { Prose } from './prose.js';
import { Wire } from './wire.js';

const FIGURES = ['first', 'pieces', 'rate', 'elapsed'];

/** How long a button shows its result, in milliseconds. */
const RESULT = 1_500;

export class TurnView {
  element;
  turn;

  #on;
  #part;
  #prose;
  #wire = null;
  #editing = null;
  #thoughts = '';
  #tools = '';

  /**
   * @param {Turn} turn
   * @param {object} on
   * @param {() => void} on.paint after the text on the page has changed
   * @param {(words: string) => void} on.announce
   * @param {(prompt: string) => void} on.edit the reader wants this prompt in the place of the turn's
   * @param {() => boolean} on.mayEdit whether a prompt can be sent now
   */
  constructor(turn, on) {
    this.turn = turn;
    this.#on = on;
    this.element = document.getElementById('turn').content.firstElementChild.cloneNode(true);
    this.#part = (name) => this.element.querySelector(name);
    this.#prose = new Prose(this.#part('.prose'), on.paint);
    this.#part('.bubble').textContent = turn.prompt ?? '';
    this.#part('.said').hidden = turn.prompt === null;
    this.#bind();
    if (turn.active) {
      this.#wire = new Wire(this.#part('.wire'));
      this.#wire.start();
    } else this.#part('.wire').remove();
    this.#prose.append(turn.answer.text);
    this.#prose.release();
  }

  /** Takes what happened; the answer knows it already. */
  learn(event, now) {
    const { answer } = this.turn;
    switch (event.type) {
      case 'text':
        this.#prose.append(event.text);
        if (!answer.catchingUp) this.#wire?.piece(now);
        break;
      case 'reasoning':
      case 'tool_call':
        if (!answer.catchingUp) this.#wire?.piece(now);
        break;
      case 'rewind':
        this.#prose.clear();
        break;
      case 'connected':
        this.#prose.hold();
        this.#wire?.join(now);
        break;
      case 'caught-up':
        this.#prose.release();
        break;
      case 'waiting':
        this.#prose.release();
        this.#wire?.cut(now);
        break;
      case 'gone':
        this.#prose.clear();
        this.#prose.append(answer.text);
        this.#prose.release();
        this.#endWire();
        break;
      case 'ended':
        this.#prose.release();
        this.#endWire();
        break;
    }
  }

  /** Shows states and figures as they are now. The last turn can be asked for again. */
  show(now, isLast) {
    const { turn } = this;
    const { answer } = turn;
    const { state, active } = answer;
    const section = this.#part('.answer');
    const hadFocus = section.contains(document.activeElement);
    section.dataset.state = state;
    this.element.classList.toggle('last', isLast);
    set(this.#part('.chip'), answer.label);
    set(this.#part('.origin'), origin(turn));
    this.#part('.prose').classList.toggle('live', active && state === 'streaming');
    this.#showFigures(answer.figures(now));
    this.#showThoughts(answer);
    this.#showTools(answer);

    const notice = answer.notice(now);
    set(this.#part('.notice p'), notice ?? '');
    this.#part('.notice').hidden = notice === null;
    this.#part('.retry').hidden = state !== 'reconnecting';
    const repeats = isLast && !active && turn.prompt !== null;
    this.#part('.again').hidden = !repeats || answer.phase === 'done';
    this.#part('.regenerate').hidden = !repeats || answer.phase !== 'done';
    this.#part('.copy').hidden = answer.text === '';
    this.#part('.share').hidden = answer.phase === 'gone' || answer.unsent;
    // The focus is not lost with the button that had it. Some browsers take it away at once, others a frame later.
    const focused = document.activeElement;
    if (hadFocus && (!section.contains(focused) || focused.closest('[hidden]'))) this.focus();
  }

  focus() {
    this.#part('.answer').focus({ preventScroll: true });
  }

  /** To be called when it is no longer on the page. */
  close() {
    this.#endWire();
  }

  #showFigures(figures) {
    for (const name of FIGURES) {
      const figure = this.#part(`[data-figure="${name}"]`);
      figure.parentNode.hidden = figures[name] === null;
      set(figure, figures[name] ?? '');
    }
  }

  /** Reasoning is plain text and only appended to, so that it can be read meanwhile. */
  #showThoughts({ reasoning }) {
    if (reasoning === this.#thoughts) return;
    const thoughts = this.#part('.thoughts');
    if (!reasoning.startsWith(this.#thoughts)) {
      this.#thoughts = '';
      thoughts.replaceChildren();
    }
    thoughts.append(reasoning.slice(this.#thoughts.length));
    this.#thoughts = reasoning;
    this.#part('.thinking').hidden = reasoning === '';
  }

  #showTools({ toolCalls }) {
    const calls = JSON.stringify(toolCalls);
    if (calls === (this.#tools || '[]')) return;
    this.#tools = calls;
    this.#part('.tools').replaceChildren(...toolCalls.map((call) => codeBlock(pretty(call.arguments), `Tool call: ${call.name}`)));
  }

  #endWire() {
    this.#wire?.end(Date.now());
    this.#wire = null;
    this.#part('.wire')?.remove();
  }

  #bind() {
    const { turn } = this;
    this.#part('.copy').addEventListener('click', ({ currentTarget }) => this.#copy(currentTarget, turn.answer.text, 'The answer is copied.'));
    this.#part('.share').addEventListener('click', ({ currentTarget }) => {
      const link = new URL(`#${turn.id}`, location.href).href;
      this.#copy(currentTarget, link, 'The link is copied.');
    });
    this.#part('.retry').addEventListener('click', () => turn.wake());
    for (const button of ['.again', '.regenerate']) this.#part(button).addEventListener('click', () => this.#on.edit(turn.prompt));
    this.#part('.edit').addEventListener('click', () => this.#edit());
    this.element.addEventListener('click', ({ target }) => {
      const button = target.closest('.copy-code');
      if (button) this.#copy(button, button.closest('figure').querySelector('code').textContent, 'The code is copied.');
    });
  }

  #edit() {
    if (this.#editing) return;
    this.#editing = new Editing(this.#part('.said'), this.turn.prompt, {
      replaces: !this.element.classList.contains('last'),
      send: (prompt) => this.#on.mayEdit() && this.#on.edit(prompt),
      end: () => (this.#editing = null),
    });
  }

  async #copy(button, value, done) {
    const copied = await copy(value);
    this.#on.announce(copied ? done : 'The browser does not allow copying.');
    button.dataset.result = copied ? 'copied' : 'refused';
    setTimeout(() => delete button.dataset.result, RESULT);
  }
}

/** Writes only what changed: the rest of the page is asked for its layout no more often than needed. */
function set(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function origin({ model, answer: { region, usage } }) {
  const parts = [];
  if (model) parts.push(model);
  if (region) parts.push(region);
  if (usage) parts.push(`${usage.input_tokens} tokens in, ${usage.output_tokens} out`);
  return parts.join(' · ');
}

/** Arguments are JSON once they are whole, if the model is right. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
