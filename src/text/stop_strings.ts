/** Looks for strings that end a text, over the borders of its pieces. */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** The text that is certain now, the string that ended it, and what came after. What may begin a stop string is held back. */
  push(text: string): { text: string; stop?: string; rest?: string } {
    this.#held += text;
    let first: { at: number; stop: string } | undefined;
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && (first === undefined || at < first.at)) first = { at, stop };
    }
    if (first !== undefined) {
      const before = this.#held.slice(0, first.at);
      const rest = this.#held.slice(first.at + first.stop.length);
      this.#held = '';
      return { text: before, stop: first.stop, rest };
    }
    const certain = this.#held.length - this.#longestBeginning();
    const sure = this.#held.slice(0, certain);
    this.#held = this.#held.slice(certain);
    return { text: sure };
  }

  /** What was held back. */
  end(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }

  /** Length of the longest end of what is held that begins a stop string. */
  #longestBeginning(): number {
    let longest = 0;
    for (const stop of this.#stops)
      for (let length = Math.min(stop.length - 1, this.#held.length); length > longest; length--)
        if (stop.startsWith(this.#held.slice(-length))) longest = length;
    return longest;
  }
}
