// The conversations of this browser, in localStorage: a list of what there is, and each conversation under a key of its own,
// so that tabs that write different ones do not disturb each other.
//
// The browser may forbid the storage, something else may have filled or broken it: then less is kept, and nothing fails.
// When there is no room, the oldest conversations make some.

import { Conversation } from './conversation.js';

const LIST = 'tokenwire.conversations';
const MOST = 100;

const keyOf = (id) => `tokenwire.conversation.${id}`;

export class Conversations {
  #storage;

  /** @param {Storage | null} storage null where the browser forbids it */
  constructor(storage) {
    this.#storage = storage;
  }

  /** Newest first: { id, title, askedAt, state, generations }. */
  list() {
    const entries = this.#read(LIST);
    return Array.isArray(entries) ? entries.filter(isEntry) : [];
  }

  /** The conversation that this generation is part of, or null. */
  with(generation) {
    const entry = this.list().find(({ generations }) => generations.includes(generation));
    const conversation = entry ? this.#get(entry.id) : null;
    return conversation?.has(generation) ? conversation : null;
  }

  /** Keeps a conversation as it is. Returns whether there was room, if need be in the place of the oldest ones. */
  put(conversation) {
    const key = keyOf(conversation.id);
    const before = new Map([[key, this.#text(key)]]);
    const body = JSON.stringify(conversation.kept());
    const others = this.list().filter(({ id }) => id !== conversation.id);
    const entries = [...others, entryOf(conversation)].sort((a, b) => b.askedAt - a.askedAt);
    for (;;) {
      const full = entries.length > MOST;
      if (!full && this.#write(key, body) && this.#write(LIST, JSON.stringify(entries))) return true;
      const oldest = entries.findLastIndex(({ id }) => id !== conversation.id);
      if (oldest < 0) break;
      const [{ id }] = entries.splice(oldest, 1);
      before.set(keyOf(id), this.#text(keyOf(id)));
      this.#drop(id);
    }
    // Something else takes the room: better all of them as they were than none.
    this.#drop(conversation.id);
    for (const [kept, text] of before) if (text !== null) this.#write(kept, text);
    return false;
  }

  /**
   * Keeps what was learned of one turn. Where another tab has replaced the turn, or removed the conversation, it has the
   * last word.
   */
  learn(conversation, turn) {
    const kept = this.#get(conversation.id);
    const index = kept?.turns.findIndex(({ id }) => id === turn.id) ?? -1;
    if (index < 0) return true;
    kept.turns[index] = turn;
    return this.put(kept);
  }

  remove(id) {
    this.#drop(id);
    this.#write(LIST, JSON.stringify(this.list().filter((entry) => entry.id !== id)));
  }

  /** Whether a storage event of another tab is about the conversations. */
  concerns({ key }) {
    return key === LIST || key === null;
  }

  #get(id) {
    return Conversation.recall(this.#read(keyOf(id)));
  }

  #read(key) {
    try {
      return JSON.parse(this.#text(key));
    } catch {
      return null;
    }
  }

  #text(key) {
    try {
      return this.#storage.getItem(key);
    } catch {
      return null;
    }
  }

  #write(key, value) {
    try {
      this.#storage.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  }

  #drop(id) {
    try {
      this.#storage.removeItem(keyOf(id));
    } catch {
      // Forbidden: then it was never there.
    }
  }
}

function entryOf({ id, title, askedAt, last, turns }) {
  return { id, title, askedAt, state: last.answer.active ? 'streaming' : last.answer.phase, generations: turns.map((turn) => turn.id) };
}

function isEntry(entry) {
  return typeof entry?.id === 'string' && typeof entry.title === 'string' && Array.isArray(entry.generations);
}
