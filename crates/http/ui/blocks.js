// Markdown that is still being written, block by block.
//
// A block is finished when the next one has begun for certain: from then on nothing that follows can change it, and it is
// never read again. So a long answer costs what its last block costs. A test cuts texts everywhere to show that the blocks
// are those of the whole.

const LINE_END = /\r\n?|\n/g;

export class Blocks {
  #read;
  #tail = '';

  /** @param {(text: string) => { line: number }[]} read `blocks` of markdown.js */
  constructor(read) {
    this.#read = read;
  }

  /**
   * Takes more of the text.
   *
   * @returns {{ finished: object[], growing: object[] }} the blocks that have been finished by it, and those that may change
   */
  push(text) {
    this.#tail += text;
    const found = this.#read(this.#tail);
    const lines = this.#lineStarts();
    // A block has begun for certain once its first line is whole: until then, `2` may become the next item of a list.
    const certain = found.findLastIndex(({ line }) => line < lines.length - 1);
    if (certain <= 0) return { finished: [], growing: found };
    this.#tail = this.#tail.slice(lines[found[certain].line]);
    return { finished: found.slice(0, certain), growing: found.slice(certain) };
  }

  /** Where each line of the tail begins; the last one has no end yet. */
  #lineStarts() {
    const starts = [0];
    LINE_END.lastIndex = 0;
    while (LINE_END.exec(this.#tail)) starts.push(LINE_END.lastIndex);
    return starts;
  }
}
