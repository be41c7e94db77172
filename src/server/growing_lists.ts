import { randomUUID } from 'node:crypto';

const comma = Buffer.of(0x2c);

/**
 * The JSON of an object whose lists grow; what is null stays null. Every entry becomes bytes when it comes: thousands of
 * log-probabilities at once would hold up the event loop for as long as many steps.
 */
export class GrowingLists {
  readonly #entries = new Map<string, Buffer[] | null>();

  add(lists: Readonly<Record<string, readonly unknown[] | null>>): void {
    for (const [name, list] of Object.entries(lists)) {
      const entries = this.#entries.get(name) ?? (list && []);
      for (const entry of list ?? [])
        entries?.push(Buffer.from((entries.length === 0 ? '' : ',') + JSON.stringify(entry)));
      this.#entries.set(name, entries);
    }
  }

  /** The lists of the first, then those of the second. */
  static of(
    first: Readonly<Record<string, readonly unknown[] | null>> | null,
    second: GrowingLists | null,
  ): GrowingLists {
    const all = new GrowingLists();
    if (first !== null) all.add(first);
    for (const [name, entries] of second === null ? [] : second.#entries) {
      const before = all.#entries.get(name) ?? (entries && []);
      for (const [index, entry] of (entries ?? []).entries()) {
        const follows = index === 0 && before !== null && before.length > 0;
        before?.push(follows ? Buffer.concat([comma, entry]) : entry);
      }
      all.#entries.set(name, before);
    }
    return all;
  }

  /** The JSON, part by part. */
  *parts(): Generator<Buffer> {
    let before = '{';
    for (const [name, entries] of this.#entries) {
      yield Buffer.from(`${before}${JSON.stringify(name)}:${entries === null ? 'null' : '['}`);
      if (entries !== null) yield* entries;
      before = entries === null ? ',' : '],';
    }
    yield Buffer.from(before.replace(',', '}'));
  }
}

/** The bytes of `JSON.stringify`, of what may have such lists in it. */
export function jsonOf(value: unknown): Buffer {
  const lists: GrowingLists[] = [];
  const mark = randomUUID(); // which nobody who is quoted can know
  const text = JSON.stringify(value, (_, part: unknown) => {
    if (!(part instanceof GrowingLists)) return part;
    lists.push(part);
    return mark;
  });
  const between = text.split(`"${mark}"`);
  return Buffer.concat(
    between.flatMap((each, index) => [Buffer.from(each), ...(lists[index]?.parts() ?? [])]),
  );
}
