// The page: one prompt, one answer, and the address bar that names it.
//
// What a generation is doing is answer.js, how its events get here is stream.js, how its text is painted is text.js. This
// module gives them their elements and keeps the focus, the address and the recent list right.

import { Answer, stateLabel } from './answer.js';
import { copy } from './clipboard.js';
import { ago, excerpt } from './format.js';
import { freshId, idIn } from './ids.js';
import { Recents } from './recents.js';
import { AnswerStream } from './stream.js';
import { Text } from './text.js';
import { Wire } from './wire.js';

/** How often the figures and countdowns move. */
const TICK = 200;

/** How often a screen reader hears that the answer grows. The text itself is there to be read, not to be recited. */
const PROGRESS = 15_000;

const $ = (id) => document.getElementById(id);
const prompt = $('prompt');
const touch = matchMedia('(pointer: coarse)');
const recents = new Recents(storage());
const text = new Text($('text'), showJump);
const wire = new Wire($('wire'));

/** The generation on the page: { id, prompt, answer, stream, seen }, or null at home. */
let open = null;

function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

// Coming and going

/**
 * Shows what the address names. The one way in: start, back button, recent list and reload all come through here.
 *
 * @param {string | null} query the prompt, when it was given just now
 */
function route(query = null) {
  const id = idIn(location.hash);
  if (id === (open?.id ?? null)) return;
  leave();
  if (id) enter(id, query);
  else goHome();
  showRecents();
}

function goHome() {
  document.body.dataset.view = 'home';
  document.title = 'Tokenwire';
  $('answer').hidden = true;
  setPrompt('');
  scrollTo({ top: 0, behavior: 'instant' });
  if (!touch.matches) prompt.focus();
}

function enter(id, query) {
  const known = recents.get(id);
  // A reload may have cut the POST off before it was answered. Sending it again is harmless, and it may be the first.
  const unsent = query ?? (known && !known.accepted && known.whole ? known.prompt : null);
  const request = unsent === null ? null : { query: unsent };
  const answer = new Answer({ askedAt: query === null ? null : Date.now(), ...known, phase: request ? 'sending' : 'connecting' });
  const stream = new AnswerStream({ id, request, on: learn });
  open = { id, prompt: query ?? known?.prompt ?? null, answer, stream, seen: false };

  document.body.dataset.view = 'answer';
  setPrompt(open.prompt ?? '');
  $('answer').hidden = false;
  scrollTo({ top: 0, behavior: 'instant' });
  wire.start();
  show();
  stream.run();
}

function leave() {
  open?.stream.close();
  open = null;
  text.reset();
  wire.end(Date.now());
}

function start(query) {
  const id = freshId();
  recents.add({ id, query, askedAt: Date.now() });
  history.pushState(null, '', `#${id}`);
  route(query);
  $('answer').focus({ preventScroll: true });
}

// What happens to the answer

function learn(event) {
  const { id, answer } = open;
  const now = Date.now();
  const before = answer.state;
  answer.apply(event, now);
  switch (event.type) {
    case 'text':
      text.append(event.text);
      if (!answer.catchingUp) wire.piece(now);
      if (answer.firstAt === now) recents.update(id, { firstAt: now });
      if (answer.pieces > 1 && answer.state === before) return; // the common case: the next tick shows the figures
      break;
    case 'rewind':
      text.clear();
      announce('The model starts over.');
      break;
    case 'accepted':
      recents.update(id, { accepted: true });
      break;
    case 'connected':
      text.hold();
      wire.join(now);
      break;
    case 'caught-up':
      text.release();
      // Who opens an answer that is still being written wants to see it grow; a finished one is read from the top.
      if (!open.seen) text.follow();
      open.seen = true;
      break;
    case 'waiting':
      text.release();
      wire.cut(now);
      break;
    case 'refused':
      refused(event.message);
      return;
    case 'ended':
    case 'gone':
      text.release();
      wire.end(now);
      recents.update(id, { accepted: true, outcome: answer.phase, endedAt: answer.endedAt });
      showRecents();
      break;
  }
  show();
  if (answer.state !== before) announceState();
}

/** The server does not want this prompt: back to where it can be changed. */
function refused(message) {
  const { id, prompt: query } = open;
  recents.remove(id);
  history.replaceState(null, '', location.pathname);
  route();
  if (query !== null) setPrompt(query);
  complain(message);
  prompt.focus();
}

// What the reader sees and hears

function show() {
  if (!open) return;
  const { answer } = open;
  const now = Date.now();
  const { state, active } = answer;
  const section = $('answer');
  const hadFocus = section.contains(document.activeElement);
  section.dataset.state = state;
  set($('chip'), answer.label);
  set($('origin'), origin(answer));
  $('text').classList.toggle('live', active && state === 'streaming');

  const figures = answer.figures(now);
  for (const name of ['first', 'pieces', 'rate', 'elapsed']) set($(`figure-${name}`), figures[name] ?? '–');

  const notice = answer.notice(now);
  set($('notice-text'), notice ?? '');
  $('notice').hidden = notice === null;
  $('retry').hidden = state !== 'reconnecting';
  $('again').hidden = active || answer.phase === 'done' || open.prompt === null;

  $('stop').hidden = !active;
  $('stop').setAttribute('aria-disabled', String(answer.stopping));
  $('copy').hidden = answer.pieces === 0;
  showStart();
  showJump();
  // The focus is not lost with the button that had it. Some browsers take it away at once, others a frame later.
  const focused = document.activeElement;
  if (hadFocus && (!section.contains(focused) || focused.closest('[hidden]'))) section.focus({ preventScroll: true });
  const title = open.prompt === null ? 'Answer' : excerpt(open.prompt, 40);
  set(document.querySelector('title'), `${answer.label} · ${title}`);
}

/** Writes only what changed: the rest of the page is asked for its layout no more often than needed. */
function set(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function origin({ attempt, region, usage }) {
  const parts = [];
  if (region) parts.push(region);
  if (attempt > 1) parts.push(`attempt ${attempt}`);
  if (usage) parts.push(`${usage.input_tokens} tokens in, ${usage.output_tokens} out`);
  return parts.join(' · ');
}

function showStart() {
  const repeats = open?.answer.active && prompt.value.trim() === open.prompt?.trim();
  $('start').setAttribute('aria-disabled', String(prompt.value.trim() === '' || Boolean(repeats)));
}

function showJump() {
  $('jump').hidden = !open?.answer.active || text.atEnd;
}

function showRecents() {
  const list = recents.list();
  const now = Date.now();
  $('recents').hidden = list.length === 0;
  $('recents-list').replaceChildren(
    ...list.map((entry) => {
      const link = document.createElement('a');
      link.href = `#${entry.id}`;
      if (entry.id === open?.id) link.setAttribute('aria-current', 'page');
      const title = document.createElement('span');
      title.textContent = excerpt(entry.prompt, 80);
      const when = document.createElement('small');
      when.textContent = [stateLabel(entry.outcome), ago(entry.askedAt, now)].filter(Boolean).join(' · ');
      link.append(title, when);
      const item = document.createElement('li');
      item.append(link);
      return item;
    }),
  );
}

function complain(message) {
  const complaint = $('complaint');
  complaint.hidden = message === null;
  complaint.textContent = message ?? '';
  if (message === null) prompt.removeAttribute('aria-invalid');
  else prompt.setAttribute('aria-invalid', 'true');
}

let lastProgress = 0;

function announce(message) {
  lastProgress = Date.now();
  $('announcer').textContent = message;
}

function announceState() {
  const { answer } = open;
  const now = Date.now();
  const words = [`${answer.label}.`];
  if (answer.state === 'done') words.push(`${answer.figures(now).pieces} pieces.`);
  const notice = answer.notice(now);
  if (notice) words.push(notice);
  announce(words.join(' '));
}

function tick() {
  if (!open?.answer.active) return;
  show();
  const { answer } = open;
  if (answer.state === 'streaming' && Date.now() - lastProgress > PROGRESS) {
    announce(`Still streaming, ${answer.figures(Date.now()).pieces} pieces so far.`);
  }
}

function setPrompt(value) {
  prompt.value = value;
  complain(null);
  fitPrompt();
  showStart();
}

/** Browsers without `field-sizing` get the same: a field as high as its text, up to what the style sheet allows. */
function fitPrompt() {
  if (CSS.supports('field-sizing', 'content')) return;
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight + 2}px`;
}

// What the reader does

function submit() {
  if ($('start').getAttribute('aria-disabled') === 'true') {
    prompt.focus();
    return;
  }
  start(prompt.value);
}

function newPrompt() {
  history.pushState(null, '', location.pathname);
  route();
  prompt.focus();
}

async function copyFrom(button, value, done) {
  const copied = await copy(value);
  announce(copied ? done : 'The browser does not allow copying.');
  if (button.dataset.result) return;
  const label = button.querySelector('span');
  const before = label.textContent;
  button.dataset.result = copied ? 'copied' : 'refused';
  label.textContent = copied ? 'Copied' : 'Not allowed';
  setTimeout(() => {
    label.textContent = before;
    delete button.dataset.result;
  }, 1_500);
}

$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener('input', () => {
  complain(null);
  fitPrompt();
  showStart();
});
prompt.addEventListener('keydown', (event) => {
  // Enter also ends the composition of a character, and on a touch keyboard it is the only way to a new line.
  if (event.key !== 'Enter' || event.isComposing || event.shiftKey || event.altKey) return;
  if (touch.matches && !event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  submit();
});
addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !event.isComposing) open?.stream.stop();
});
$('examples').addEventListener('click', ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  setPrompt(target.textContent);
  prompt.focus();
});
$('home').addEventListener('click', (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  newPrompt();
});
$('new').addEventListener('click', newPrompt);
$('theme').addEventListener('click', () => {
  theme.toggle();
  wire.draw();
});
theme.onChange(() => wire.draw());
$('stop').addEventListener('click', () => open?.stream.stop());
$('retry').addEventListener('click', () => open?.stream.wake());
$('again').addEventListener('click', () => start(open.prompt));
$('copy').addEventListener('click', () => copyFrom($('copy'), text.value, 'The answer is copied.'));
$('share').addEventListener('click', () => copyFrom($('share'), location.href, 'The link is copied.'));
$('jump').addEventListener('click', () => {
  text.follow();
  $('answer').focus({ preventScroll: true });
});
$('recents-list').addEventListener('click', ({ target }) => {
  if (target.closest('a')) queueMicrotask(() => $('answer').focus({ preventScroll: true }));
});
$('forget').addEventListener('click', () => {
  recents.clear();
  showRecents();
  $('new').focus();
});

addEventListener('popstate', () => route());
addEventListener('storage', (event) => {
  if (recents.concerns(event)) showRecents();
});
addEventListener('online', () => open?.stream.wake());
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') open?.stream.wake();
});
setInterval(tick, TICK);

const first = idIn(location.hash);
if (first) route();
else {
  goHome();
  showRecents();
}
