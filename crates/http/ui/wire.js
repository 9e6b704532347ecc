// The wire: the last seconds of a stream as a line, with a tick for each arrival and a gap without a connection. Hidden from
// screen readers; does not move with reduced motion.

const SECONDS = 12;

/** Arrivals this close are one tick, in milliseconds. */
const MOMENT = 40;

const calm = matchMedia('(prefers-reduced-motion: reduce)');

export class Wire {
  #canvas;
  #context;
  #ticks = []; // { at, pieces }
  #gaps = []; // { from, to }, the last one open-ended while there is no connection
  #live = false;
  #frame = 0;
  #endedAt = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d');
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  start() {
    this.#ticks = [];
    this.#gaps = [];
    this.#live = true;
    this.#loop();
  }

  piece(now) {
    const last = this.#ticks.at(-1);
    if (last && now - last.at < MOMENT) last.pieces += 1;
    else this.#ticks.push({ at: now, pieces: 1 });
  }

  cut(now) {
    if (this.#gaps.at(-1)?.to !== Infinity) this.#gaps.push({ from: now, to: Infinity });
  }

  join(now) {
    const last = this.#gaps.at(-1);
    if (last?.to === Infinity) last.to = now;
  }

  end(now) {
    this.join(now);
    this.#live = false;
    this.#endedAt = now;
    this.draw();
  }

  draw() {
    const { width, height } = this.#fit();
    const now = this.#live ? Date.now() : this.#endedAt;
    const from = now - SECONDS * 1_000;
    const x = (time) => ((time - from) / (SECONDS * 1_000)) * width;
    const style = getComputedStyle(this.#canvas);
    const middle = Math.round(height / 2);
    this.#ticks = this.#ticks.filter((tick) => tick.at >= from);
    this.#gaps = this.#gaps.filter((gap) => gap.to >= from);

    const context = this.#context;
    context.clearRect(0, 0, width, height);
    context.fillStyle = style.getPropertyValue('--wire');
    context.fillRect(0, middle, width, 1);
    for (const gap of this.#gaps) {
      const [left, right] = [Math.max(0, x(gap.from)), Math.min(width, x(gap.to))];
      context.clearRect(left, middle - 1, right - left, 3);
      context.fillStyle = style.getPropertyValue('--warn');
      for (let dot = left; dot < right; dot += 6) context.fillRect(dot, middle, 2, 1);
    }
    context.fillStyle = style.getPropertyValue('--accent');
    for (const { at, pieces } of this.#ticks) {
      const tall = Math.min(height, 6 + 4 * Math.log2(pieces + 1));
      context.globalAlpha = 0.25 + 0.75 * ((at - from) / (SECONDS * 1_000));
      context.fillRect(x(at) - 2, middle - tall / 2 + 0.5, 2, tall);
    }
    context.globalAlpha = 1;
  }

  #loop() {
    cancelAnimationFrame(this.#frame);
    this.draw();
    if (this.#live && !calm.matches) this.#frame = requestAnimationFrame(() => this.#loop());
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.#canvas.width !== w || this.#canvas.height !== h) {
      this.#canvas.width = w;
      this.#canvas.height = h;
    }
    this.#context.setTransform(scale, 0, 0, scale, 0, 0);
    return { width, height };
  }
}
