// ggml's quantisers, as scripts/weight-types.mjs calls them, beside the plain ones of bench/gguf and what files' bytes mean.
import { beforeAll, describe, expect, test } from 'vitest';
import { ggufTypes } from '../../bench/gguf/types.mjs';
import type { GgufTypeName } from '../../bench/gguf/write.mjs';
import { ggml, publishedTypes } from '../../scripts/weight-types/published.mjs';
import { relativeError } from '../../scripts/weight-types/statistics.mjs';
import { decodedGguf } from '../support/gguf_types.js';
import { generator } from '../support/layers.js';

const random = generator(3);
const shape = [64, 128];
const values = Float32Array.from({ length: 64 * 128 }, () => random() + random() - 1);
const importance = Float32Array.from({ length: 128 }, () => random() ** 4);

let program: Awaited<ReturnType<typeof ggml>>;
beforeAll(async () => {
  program = await ggml();
});

describe.each(publishedTypes.filter(({ name }) => name in ggufTypes))('$name', (type) => {
  const round = (...of: unknown[]) => type.round(program)(...of) as Float32Array;
  const plain = decodedGguf(
    type.name as GgufTypeName,
    ggufTypes[type.name as GgufTypeName].encode(values),
  );

  test('is held at least as well as plain rounding does', () => {
    const [theirs, ours] = [round(values, shape), plain].map((held) => relativeError(held, values));
    expect(theirs).toBeLessThanOrEqual(1.001 * (ours as number));
  });

  test('heeds how much columns count, where it is said to', () => {
    const weighted = round(values, shape, importance);
    if (type.weighted) expect(weighted).not.toEqual(round(values, shape));
    else expect(weighted).toEqual(round(values, shape));
  });
});

test('types that have one way of rounding are rounded to the same numbers', () => {
  for (const name of ['Q8_0', 'Q4_0'] as const)
    expect(
      publishedTypes.find((type) => type.name === name)?.round(program)(values, shape),
    ).toEqual(decodedGguf(name, ggufTypes[name].encode(values)));
});
