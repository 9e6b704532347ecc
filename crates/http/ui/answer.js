// The state of one generation: a fold over the events of stream.js, with its figures.
//
// No DOM and no clock of its own: the time is an argument, so that tests can reach every state. `kept()` is the part that
// survives a reload.

import { count, duration, rate } from './format.js';

/** The rate is that of the last seconds: long enough to be calm, short enough to be true. */
const RATE_WINDOW = 4_000;

const LABELS = {
  sending: 'Sending',
  connecting: 'Connecting',
  queued: 'Queued',
  streaming: 'Streaming',
  waiting: 'Waiting',
  reconnecting: 'Reconnecting',
  stopping: 'Stopping',
  done: 'Done',
  cancelled: 'Cancelled',
  timeout: 'Timed out',
  error: 'Failed',
  expired: 'Expired',
  gone: 'Gone',
};

/** What to say of an answer that ended for another reason than being complete. */
const FINISHES = {
  length: 'It reached the limit of its length.',
  tool_calls: 'The model asks for a tool, and waits for its result.',
  content_filter: 'A filter of the model ended it here.',
};

/** The stored fields of an answer that has ended, besides its phase and times. */
const KEPT = [
  'text', 'reasoning', 'toolCalls', 'pieces', 'finishReason', 'usage', 'message', 'cause', 'unsent', 'region',
];

const ENDS = new Set(['done', 'cancelled', 'timeout', 'error', 'expired', 'gone']);
const ACTIVE = new Set(['sending', 'connecting', 'queued', 'streaming']);

export class Answer {
  /** sending, connecting, queued or streaming; then an outcome, `gone` or `refused`. Independent of the connection. */
  phase;
  /** While there is no connection: { cause, message, until }. */
  waiting = null;
  stopping = false;
  /** While a backlog comes in. */
  catchingUp = false;
  region = null;
  rewound = false;
  /** The model was busy or could not be reached when it was asked last. */
  modelIsAway = false;
  /** The answer, the reasoning before it, and the tool calls: { name, arguments } each. */
  text = '';
  reasoning = '';
  toolCalls = [];
  pieces = 0;
  finishReason = null;
  usage = null;
  message = null;
  cause = null;
  unsent = false;

  /** When it was asked, when the first delta arrived live, when it ended: null if this device does not know. */
  askedAt;
  firstAt;
  endedAt;

  #kept = ''; // what this device had of an answer that is read anew
  #opening = true; // until the first connection has brought what was there before
  #arrivals = []; // [time, number of deltas] within the window, oldest first

  /** @param {{ phase?: string, askedAt?: number | null, firstAt?: number | null, endedAt?: number | null }} [known] */
  constructor({ phase = 'connecting', askedAt = null, firstAt = null, endedAt = null } = {}) {
    this.phase = phase;
    this.askedAt = askedAt;
    this.firstAt = firstAt;
    this.endedAt = endedAt;
  }

  /** An answer as `kept` gave it out, or null when something else is stored there. One that had not ended begins to be read anew. */
  static recall(kept) {
    if (typeof kept !== 'object' || kept === null) return null;
    const answer = new Answer(kept);
    if (!ENDS.has(kept.phase)) {
      if (typeof kept.text === 'string') answer.#kept = kept.text;
      return answer;
    }
    for (const name of KEPT) answer[name] = kept[name] ?? answer[name];
    if (typeof answer.text !== 'string' || typeof answer.reasoning !== 'string' || !Array.isArray(answer.toolCalls)) return null;
    return answer;
  }

  /** What to keep of it: everything once it has ended. Until then the server has the text, and this is for when it has not. */
  kept() {
    const { phase, askedAt, firstAt, endedAt, text } = this;
    if (this.active) return { askedAt, firstAt, text: text || this.#kept };
    return { phase, askedAt, firstAt, endedAt, ...Object.fromEntries(KEPT.map((name) => [name, this[name]])) };
  }

  get active() {
    return ACTIVE.has(this.phase);
  }

  /** The state as one word for people and style sheets. */
  get state() {
    if (!this.active) return this.phase;
    if (this.waiting) return 'reconnecting';
    if (this.stopping) return 'stopping';
    return this.modelIsAway ? 'waiting' : this.phase;
  }

  get label() {
    return stateLabel(this.state);
  }

  apply(event, now) {
    switch (event.type) {
      case 'waiting':
        this.waiting = event;
        this.#arrivals = [];
        break;
      case 'connected':
        this.waiting = null;
        this.catchingUp = true;
        break;
      case 'caught-up':
        this.catchingUp = false;
        this.#opening = false;
        break;
      case 'queued':
        this.phase = 'queued';
        break;
      case 'waiting_for_model':
        this.modelIsAway = true;
        break;
      case 'rewind':
        this.text = '';
        this.reasoning = '';
        this.toolCalls = [];
        this.pieces = 0;
        this.rewound = true;
        this.#arrivals = [];
        this.#start(event);
        break;
      case 'started':
        this.#start(event);
        break;
      case 'text':
        this.text += event.text;
        this.#piece(now);
        break;
      case 'reasoning':
        this.reasoning += event.text ?? '';
        this.#piece(now);
        break;
      case 'tool_call':
        this.#toolCall(event);
        this.#piece(now);
        break;
      case 'stopping':
        this.stopping = true;
        break;
      case 'unstoppable':
        this.stopping = false;
        this.message = event.message;
        break;
      case 'ended':
        this.#finish(event.outcome, event, now);
        break;
      case 'gone':
        this.text ||= this.#kept;
        this.#finish(event.type, event, now);
        break;
      case 'refused':
        this.#finish(event.type, event, now);
        break;
    }
  }

  #start({ region = null }) {
    this.phase = 'streaming';
    this.region = region;
  }

  #piece(now) {
    this.phase = 'streaming';
    this.modelIsAway = false;
    this.pieces += 1;
    if (this.catchingUp) return;
    // The first delta of a backlog came before this reader, so the time until it arrived is not known.
    if (this.pieces === 1) this.firstAt ??= now;
    const last = this.#arrivals.at(-1);
    if (last?.[0] === now) last[1] += 1;
    else this.#arrivals.push([now, 1]);
  }

  /** Pieces of one index are one call. */
  #toolCall({ index, name, arguments: more }) {
    if (!Number.isInteger(index)) return;
    let call = this.toolCalls.find((known) => known.index === index);
    if (!call) this.toolCalls.push((call = { index, name: '', arguments: '' }));
    call.name += name ?? '';
    call.arguments += more ?? '';
  }

  #finish(phase, event, now) {
    // When an answer ended that was over before this page was opened is known only if this device saw it then.
    if (!this.#opening || this.unsent) this.endedAt ??= now;
    this.phase = phase;
    this.waiting = null;
    this.modelIsAway = false;
    this.stopping = false;
    this.catchingUp = false;
    this.message = event.message ?? null;
    this.cause = event.cause ?? null;
    this.unsent = event.unsent ?? false;
    this.finishReason = event.finish_reason ?? null;
    this.usage = event.usage ?? null;
  }

  /** The figures as text; null for what is not known. */
  figures(now) {
    const until = this.active ? now : this.endedAt;
    return {
      first: this.askedAt !== null && this.firstAt !== null ? duration(this.firstAt - this.askedAt) : null,
      pieces: count(this.pieces),
      rate: this.#rate(now),
      elapsed: this.askedAt !== null && until !== null ? duration(until - this.askedAt) : null,
    };
  }

  #rate(now) {
    if (!this.active) {
      const known = this.firstAt !== null && this.endedAt !== null && this.pieces > 1;
      return known ? rate((this.pieces - 1) / ((this.endedAt - this.firstAt) / 1_000)) : null;
    }
    while (this.#arrivals.length > 0 && this.#arrivals[0][0] < now - RATE_WINDOW) this.#arrivals.shift();
    if (this.#arrivals.length < 2) return null;
    const pieces = this.#arrivals.reduce((sum, [, some]) => sum + some, 0);
    return rate((pieces - this.#arrivals[0][1]) / ((now - this.#arrivals[0][0]) / 1_000));
  }

  /** What to say beside the state: what happened, and what happens next. Null when the state says it all. */
  notice(now) {
    if (this.active) return this.#activeNotice(now);
    switch (this.phase) {
      case 'cancelled':
        if (this.unsent) return 'It was stopped before the server took it.';
        if (this.cause === 'abandoned') return 'It was stopped because nobody was reading it.';
        return this.pieces > 0 ? 'It was stopped here. The text so far is kept.' : 'It was stopped before it began.';
      case 'timeout':
        return this.pieces > 0
          ? 'It ran out of time. What was written so far is above.'
          : 'It ran out of time before the model answered. Asking again may help.';
      case 'expired':
        return 'No worker was free in time, so it was not written. Asking again may help.';
      case 'error':
        return sentence(this.message) ?? 'The model could not answer.';
      case 'gone':
        return this.text
          ? 'The server no longer keeps this answer. This is what this browser had of it.'
          : 'The server no longer keeps this answer, or the link is wrong.';
      case 'done':
        return FINISHES[this.finishReason] ?? null;
      default:
        return null;
    }
  }

  #activeNotice(now) {
    if (this.waiting) {
      const { cause, message, until } = this.waiting;
      const what = {
        lost: 'The connection is lost.',
        silent: 'The server has gone silent.',
        unavailable: sentence(message),
      }[cause];
      const seconds = Math.ceil((until - now) / 1_000);
      const next = seconds > 0 ? `Trying again in ${seconds}\u00a0s.` : 'Trying again…';
      const kept = this.phase === 'sending' ? '' : ' The answer goes on where it was.';
      return `${what} ${next}${kept}`;
    }
    if (this.stopping) return 'Stopping…';
    if (this.message) return `It could not be stopped. ${sentence(this.message)}`;
    if (this.modelIsAway) return 'The model is busy or cannot be reached. Tokenwire will ask it again.';
    if (this.phase === 'queued') return 'Waiting for a free worker.';
    if (this.rewound) return 'The model had to start over.';
    return null;
  }
}

/** A state or an outcome as people read it; empty for what is none. */
export function stateLabel(state) {
  return LABELS[state] ?? '';
}

/** Server messages are lower case without a full stop; beside ours they are sentences. */
function sentence(message) {
  if (!message) return null;
  const text = message[0].toUpperCase() + message.slice(1);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}
