// An incremental parser for text/event-stream.
//
// Bytes may be split anywhere, even inside a character or between CR and LF: the same bytes always give the same events. It
// follows the parsing rules of the HTML standard. stream.js connects, resumes and interprets events.

const LINE_END = /[\r\n]/g;

export class SseParser {
  /** The id that a reader may resume from: that of the last complete block that had one. */
  lastEventId = '';

  /** The server's wish for the pause before a reconnect, in milliseconds, or null. */
  retry = null;

  #decoder = new TextDecoder(); // drops one leading byte order mark
  #onEvent;
  #partial = '';
  #afterCr = false;
  #type = '';
  #data = [];
  #id;

  /** @param {(event: {type: string, data: string, id?: string}) => void} onEvent `id` is the block's own, not a former one's. */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /** @param {Uint8Array} bytes */
  push(bytes) {
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text === '') return;
    let from = this.#afterCr && text[0] === '\n' ? 1 : 0;
    this.#afterCr = false;
    for (;;) {
      LINE_END.lastIndex = from;
      const end = LINE_END.exec(text)?.index;
      if (end === undefined) break;
      const line = this.#partial + text.slice(from, end);
      this.#partial = '';
      from = end + 1;
      if (text[end] === '\r') {
        if (from === text.length) this.#afterCr = true;
        else if (text[from] === '\n') from += 1;
      }
      if (line === '') this.#dispatch();
      else this.#field(line);
    }
    this.#partial += text.slice(from);
  }

  #field(line) {
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment: the heartbeat
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    switch (name) {
      case 'event':
        this.#type = value;
        break;
      case 'data':
        this.#data.push(value);
        break;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        break;
      case 'retry':
        if (/^[0-9]+$/.test(value)) this.retry = Number(value);
        break;
    }
  }

  #dispatch() {
    const event = { type: this.#type || 'message', data: this.#data.join('\n'), id: this.#id };
    const hasData = this.#data.length > 0;
    this.#type = '';
    this.#data = [];
    this.#id = undefined;
    // A block without data is no event, but its id counts.
    if (event.id !== undefined) this.lastEventId = event.id;
    if (hasData) this.#onEvent(event);
  }
}
