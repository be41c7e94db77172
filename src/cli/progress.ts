import { bar } from './text.js';

/** One line on stderr that says how far something is. Writes nothing where stderr is not a terminal. */
export class ProgressLine {
  readonly #title: string;
  #shown = '';

  constructor(title: string) {
    this.#title = title;
  }

  /** Bound, to be handed over as a callback. */
  readonly update = (done: number, total: number): void => {
    if (!process.stderr.isTTY) return;
    const fraction = total === 0 ? 1 : done / total;
    const text = `${this.#title} ${bar(fraction, 30).padEnd(30)} ${Math.floor(fraction * 100)} %`;
    if (text === this.#shown) return;
    this.#shown = text;
    process.stderr.write(`\r${text}\x1b[K`);
  };

  /** Clears the line. */
  end(): void {
    if (this.#shown !== '') process.stderr.write('\r\x1b[K');
    this.#shown = '';
  }
}
