// Models on the engine, without what makes text of them.
import type { NativeSampling } from '../../src/binding/model.js';
import { type LoadedModel, loadModel } from '../../src/model/load.js';
import type { ModelLoadOptions } from '../../src/model/options.js';
import { V } from '../families/random.js';
import { generator } from '../support/layers.js';

/** A text of so many tokens. */
export function textOf(count: number, vocabulary = V): number[] {
  const next = generator(count);
  return Array.from({ length: count }, () => Math.floor(next() * vocabulary));
}

const likeliest = (vocabulary: number): NativeSampling => ({
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 },
  ...{ presencePenalty: 0, frequencyPenalty: 0, minTokens: 0, vocabulary },
  ...{ biasTokens: new Int32Array(), biasValues: new Float32Array(), stopTokens: new Int32Array() },
  ...{ seed: 0n, choice: 0, logprobs: -1 },
});

/** Logits of every position, `[T, V]`, in steps of so many tokens. */
export async function logitsOf(
  { native, description }: LoadedModel,
  tokens: readonly number[],
  steps: readonly number[] = [tokens.length],
): Promise<Float32Array> {
  const { vocabularySize } = description.spec;
  const admitted = native.admit(Int32Array.from(tokens), 0, likeliest(vocabularySize));
  if (admitted === undefined) throw new Error('no room');
  const { sequence } = admitted;
  const all = new Float32Array(tokens.length * vocabularySize);
  let done = 0;
  for (const count of steps) {
    const logits = all.subarray(done * vocabularySize, (done + count) * vocabularySize);
    await native.step({
      sequences: Int32Array.of(sequence),
      counts: Int32Array.of(count),
      sampled: new Int32Array(1),
      logits,
    });
    done += count;
  }
  native.release(sequence);
  return all;
}

/** A loaded model's logits, or what `use` makes of it; it is closed behind that. */
export async function withModel<T>(
  folder: string,
  options: ModelLoadOptions,
  use: (model: LoadedModel) => Promise<T>,
): Promise<T> {
  const model = await loadModel(folder, options);
  try {
    return await use(model);
  } finally {
    await model.close();
  }
}

/** The largest difference of a position's logits, as a share of its largest logit. */
export function worstError(actual: Float32Array, expected: readonly (readonly number[])[]): number {
  let worst = 0;
  for (const [t, row] of expected.entries()) {
    const most = Math.max(...row.map(Math.abs));
    for (const [token, value] of row.entries()) {
      const error = Math.abs((actual[t * row.length + token] as number) - value) / most;
      // NaN must not pass.
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}
