// The list of conversations: a column where there is room, else a drawer that lies over the page.

import { stateLabel } from './answer.js';
import { ago } from './format.js';

const $ = (id) => document.getElementById(id);
const narrow = matchMedia('(max-width: 59.99rem)');

/** Phases that the list does not show: success is the normal case. */
const SILENT = new Set(['done']);

export class Sidebar {
  #drawn = '';

  /**
   * @param {object} on
   * @param {() => void} on.fresh a new conversation is wanted
   * @param {(id: string) => void} on.remove
   * @param {() => void} on.removeAll
   * @param {() => void} on.undo
   */
  constructor(on) {
    $('new').addEventListener('click', () => {
      this.close();
      on.fresh();
    });
    $('home').addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.close();
      on.fresh();
    });
    $('conversations').addEventListener('click', ({ target }) => {
      const remove = target.closest('button');
      if (remove) on.remove(remove.dataset.conversation);
      else if (target.closest('a')) this.close();
    });
    $('remove-all').addEventListener('click', () => on.removeAll());
    $('undo').addEventListener('click', () => on.undo());
    $('open-sidebar').addEventListener('click', () => this.#open());
    for (const id of ['close-sidebar', 'veil']) $(id).addEventListener('click', () => this.close());
    $('sidebar').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.#isOpen) return;
      event.stopPropagation(); // it closes the drawer, and does not stop an answer
      this.close();
    });
    narrow.addEventListener('change', () => this.#place(false));
    this.#place(false);
  }

  /**
   * @param {object[]} entries as Conversations lists them
   * @param {string | null} current the id of the one on the page
   * @param {boolean} kept whether the browser had room for it
   */
  render(entries, current, kept) {
    const now = Date.now();
    const items = entries.map(({ id, title, askedAt, state, generations }) => ({
      id,
      title,
      note: [SILENT.has(state) ? '' : stateLabel(state), ago(askedAt, now)].filter(Boolean).join(' · '),
      address: `#${generations.at(-1)}`,
      live: state === 'streaming',
    }));
    $('kept-here').textContent = kept
      ? 'Conversations are kept in this browser only.'
      : 'This browser has no room to keep this conversation: it is gone when the page is closed.';
    $('kept-here').classList.toggle('warning', !kept);
    $('remove-all').hidden = items.length === 0;
    // Drawn again only if it has changed, so that it keeps the focus.
    const drawn = JSON.stringify([items, current]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = $('conversations').contains(document.activeElement) ? document.activeElement : null;
    const [held, tag] = [focused?.closest('li')?.dataset.conversation, focused?.nodeName];
    $('conversations').replaceChildren(...items.map((item) => listItem(item, item.id === current)));
    if (!focused) return;
    const same = held && $('conversations').querySelector(`li[data-conversation="${CSS.escape(held)}"] ${tag}`);
    (same || $('new')).focus();
  }

  /** Says what was removed, for as long as it can be brought back; with null nothing. */
  offerUndo(words) {
    $('removed').hidden = words === null;
    $('removed-text').textContent = words ?? '';
  }

  close() {
    if (!this.#isOpen) return;
    this.#place(false);
    $('open-sidebar').focus();
  }

  get #isOpen() {
    return document.body.classList.contains('drawer-open');
  }

  #open() {
    this.#place(true);
    $('close-sidebar').focus();
  }

  #place(open) {
    document.body.classList.toggle('drawer-open', open);
    $('veil').hidden = !open;
    $('page').inert = open;
    $('sidebar').inert = narrow.matches && !open;
    $('open-sidebar').setAttribute('aria-expanded', String(open));
  }
}

function listItem({ id, title, note, address, live }, isCurrent) {
  const link = document.createElement('a');
  link.href = address;
  if (isCurrent) link.setAttribute('aria-current', 'page');
  const name = document.createElement('span');
  name.textContent = title;
  const small = document.createElement('small');
  small.textContent = note;
  if (live) small.className = 'live';
  link.append(name, small);
  const remove = document.createElement('button');
  remove.type = 'button';
  remove.className = 'quiet icon remove';
  remove.dataset.conversation = id;
  remove.setAttribute('aria-label', `Delete “${title}”`);
  remove.textContent = '×';
  const item = document.createElement('li');
  item.dataset.conversation = id;
  item.append(link, remove);
  return item;
}
