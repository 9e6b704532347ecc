// The page: one conversation at a time, and the address bar that names its latest answer.
//
// This module gives the others their parts and keeps the address, the focus and what is kept in step. Conversations whose
// answers are still being written go on in the background when another one is opened.

import { Announcer } from './announcer.js';
import { Composer } from './composer.js';
import { Conversation } from './conversation.js';
import { Conversations } from './conversations.js';
import { excerpt } from './format.js';
import { Follow } from './follow.js';
import { idIn } from './ids.js';
import { Models } from './models.js';
import { Settings } from './settings.js';
import { Sidebar } from './sidebar.js';
import { Transcript } from './transcript.js';

/** How often figures and countdowns move, in milliseconds. */
const TICK = 200;

const $ = (id) => document.getElementById(id);
const storage = openStorage();
const conversations = new Conversations(storage);
const models = new Models(storage);
const settings = new Settings(storage);
const announcer = new Announcer($('announcer'));
const follow = new Follow(showJump);
const composer = new Composer({ settings, models, send: (prompt) => ask(prompt), stop });
const sidebar = new Sidebar({ fresh: goHome, remove, removeAll, undo });
const transcript = new Transcript($('transcript'), {
  paint: () => follow.grown(),
  announce: (words) => announcer.say(words),
  mayEdit: () => !open?.active,
  edit: (prompt, index) => ask(prompt, index),
});

/** The conversation on the page, or null at home. */
let open = null;

/** Those with an answer that this page reads, also when another one is on the page. */
const live = new Set();

/** Those that the browser had no room for: they last as long as the page. */
const unkept = new Set();

/** What was being written, by conversation; at home under none. */
const drafts = new Map();

/** The conversations that the reader deleted last, for undo. */
let removed = [];

function openStorage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

// Coming and going

/** Shows what the address names. The one way in: list, back button, link and reload all come through here. */
function route() {
  const id = idIn(location.hash);
  if (id === null) show(null);
  else if (!open?.has(id)) show(find(id), id);
}

function find(id) {
  const known = [...live, ...unkept].find((conversation) => conversation.has(id));
  return known ?? conversations.with(id) ?? Conversation.ofLink(id);
}

/** Puts a conversation on the page; null is home. */
function show(conversation, generation = null) {
  drafts.set(open?.id, composer.value);
  open = conversation;
  document.body.dataset.view = open ? 'conversation' : 'home';
  transcript.render(open?.turns ?? []);
  composer.value = drafts.get(open?.id) ?? '';
  if (open) {
    for (const turn of open.turns) read(open, turn);
    const turn = open.turns.find(({ id }) => id === generation);
    if (turn && turn !== open.last) {
      follow.stop();
      transcript.scrollTo(turn);
    } else follow.start();
  } else scrollTo({ top: 0, behavior: 'instant' });
  showState();
  showList();
  composer.invite();
}

function goHome() {
  history.pushState(null, '', location.pathname);
  show(null);
  composer.focus();
}

// Asking

/** Asks in the open conversation, or begins one. With an index, in the place of that turn and all that follow. */
function ask(prompt, index) {
  if (open?.active || !composer.checks()) return;
  const conversation = open?.isOwn ? open : new Conversation();
  if (index === undefined) composer.value = '';
  const how = { system: settings.system, options: settings.options, model: models.chosen, now: Date.now(), index };
  const { turn, replaced } = conversation.ask(prompt, how);
  keep(conversation);
  // One conversation is one place in the history of the browser.
  if (conversation === open) history.replaceState(null, '', `#${turn.id}`);
  else history.pushState(null, '', `#${turn.id}`);
  if (conversation === open) transcript.render(open.turns);
  else show(conversation);
  read(conversation, turn, replaced);
  composer.leave();
  if (index !== undefined) transcript.focus();
  follow.start();
  showState();
}

/** Reads an answer that has not ended. */
function read(conversation, turn, replaced = []) {
  if (!turn.active) return;
  live.add(conversation);
  let state = turn.answer.state;
  turn.follow((event, now) => {
    if (event.type === 'refused') {
      refused(conversation, turn, replaced, event.message);
      return;
    }
    const isOpen = conversation === open;
    if (isOpen) transcript.learn(turn, event, now);
    const { answer } = turn;
    const ended = !answer.active;
    if (event.type === 'accepted' || answer.pieces === 1 || ended) keep(conversation, turn);
    if (ended && !conversation.active) live.delete(conversation);
    // The common case is one more delta: the next tick shows the figures.
    if (answer.state === state) return;
    state = answer.state;
    if (isOpen) {
      showState();
      announcer.state(answer, now);
    }
    if (ended) showList();
  });
}

function stop() {
  for (const turn of open?.turns ?? []) if (turn.active) turn.stop();
}

/** The server does not want this message: everything is as it was before, and it can be changed. */
function refused(conversation, turn, replaced, message) {
  turn.close();
  live.delete(conversation);
  conversation.turns.splice(conversation.turns.indexOf(turn), 1, ...replaced);
  if (conversation.last) keep(conversation);
  else conversations.remove(conversation.id);
  if (conversation === open) {
    history.replaceState(null, '', conversation.last ? `#${conversation.last.id}` : location.pathname);
    show(conversation.last ? conversation : null);
    composer.value = turn.prompt;
    composer.complain(message);
    composer.focus();
  }
  showList();
}

// Keeping

/** Keeps a conversation, or only what was learned of one turn. An answer that came as a link is not the reader's to keep. */
function keep(conversation, learned = null) {
  if (!conversation.isOwn) return;
  const kept = learned ? conversations.learn(conversation, learned) : conversations.put(conversation);
  if (!kept) unkept.add(conversation);
  else if (!learned) unkept.delete(conversation);
  showList();
}

function remove(id) {
  forget(conversations.list().filter((entry) => entry.id === id));
}

function removeAll() {
  forget(conversations.list());
}

function forget(entries) {
  removed = entries.map(({ id, generations }) => {
    const known = [...live, open].find((conversation) => conversation?.id === id);
    return known ?? conversations.with(generations.at(-1));
  }).filter(Boolean);
  for (const { id } of entries) conversations.remove(id);
  for (const conversation of removed) {
    live.delete(conversation);
    // Without a reader the server ends it in a while; should it be brought back before, it is read again.
    for (const turn of conversation.turns) turn.close();
  }
  const words = removed.length === 1 ? `“${excerpt(removed[0].title, 24)}” is deleted.` : `${removed.length} conversations are deleted.`;
  sidebar.offerUndo(words);
  announcer.say(words);
  if (removed.includes(open)) goHome();
  showList();
}

function undo() {
  for (const conversation of removed) conversations.put(conversation);
  removed = [];
  sidebar.offerUndo(null);
  showList();
  $('new').focus();
}

/** Another tab has changed the conversations. New turns in the conversation that is open here are read here too. */
function adopt() {
  showList();
  if (!open) return;
  const entry = conversations.list().find(({ id }) => id === open.id);
  if (!entry || entry.generations.join() === open.turns.map(({ id }) => id).join()) return;
  const theirs = conversations.with(entry.generations.at(-1));
  if (!theirs) return;
  for (const turn of open.turns) turn.close();
  live.delete(open);
  history.replaceState(null, '', `#${theirs.last.id}`);
  show(theirs);
}

// What the reader sees

function showState() {
  const turn = open?.turns.find(({ active }) => active) ?? open?.last ?? null;
  const { answer } = turn ?? {};
  transcript.show(turn);
  composer.show({
    active: answer?.active ?? false,
    stopping: answer?.stopping ?? false,
    placeholder: !open || !open.isOwn ? 'Ask something' : 'Reply',
  });
  const title = open?.title ?? '';
  $('title').hidden = title === '';
  if ($('title').textContent !== title) $('title').textContent = title;
  const words = answer ? `${answer.label} · ${excerpt(title, 40)}` : 'Tokenwire';
  if (document.title !== words) document.title = words;
  showJump();
}

function showJump() {
  $('jump').hidden = !open?.active || follow.atEnd;
}

function showList() {
  sidebar.render(conversations.list(), open?.id ?? null, !unkept.has(open));
}

function tick() {
  if (!open?.active) return;
  showState();
  announcer.progress(open.last.answer, Date.now());
}

async function loadModels() {
  if (models.names.length > 0) return;
  if (await models.load()) composer.showModels();
}

// Input of the reader that belongs to no other module

addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !event.isComposing) stop();
});
$('examples').addEventListener('click', ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  composer.value = target.textContent;
  composer.focus();
});
$('jump').addEventListener('click', () => {
  follow.start();
  transcript.focus();
});
$('theme').addEventListener('click', () => theme.toggle());

addEventListener('popstate', route);
addEventListener('storage', (event) => {
  if (conversations.concerns(event)) adopt();
});
addEventListener('pagehide', () => {
  for (const conversation of live) for (const turn of conversation.turns) if (turn.active) conversations.learn(conversation, turn);
});
addEventListener('online', wake);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') wake();
});
setInterval(tick, TICK);

/** The network may be back, or the page is seen again: what waits tries at once. */
function wake() {
  for (const conversation of live) for (const turn of conversation.turns) turn.wake();
  loadModels();
}

route();
loadModels();
