// Weights that are quantised by how much their inputs count.
import { ConfigError } from '../base/errors.js';
import { settled } from '../binding/settled.js';
import type { ExpertView, LayerViews, MatrixView } from '../binding/views.js';
import { countsInputs } from '../binding/weight_formats.js';
import { choicesOf, type GivenChoices } from '../layer/choices.js';
import { MoELayer } from '../layer/layer.js';
import type { LoadOptions } from '../layer/options.js';
import type { LayerParts } from '../layer/parts.js';
import { storedType } from '../layer/weights.js';
import type { MoECheckpoint } from './checkpoint.js';

/** What entered a model's layers. */
export interface LayerInputs {
  /** Looks at what `inputs` reads. Throws where it is not there or of another width. */
  checkInputs(layer: number, width: number): void;
  /** `[T, H]`, T at least 1, of numbers. */
  inputs(layer: number, width: number): Promise<Float32Array>;
  /** Choices of these tokens, where a table of the layer says them by the tokens' ids. */
  choosing(of: Pick<MoELayer, 'expertTable'>, layer: number): Promise<GivenChoices>;
}

type Blocks = Pick<MoECheckpoint, 'path' | 'parts' | 'unmap'>;

/** Rows that are measured at once. */
const batchTokens = 256;

/** Tokens that what is known without an expert's own counts for: few tokens say little of an expert. */
const priorTokens = 16;

/**
 * A checkpoint's layers with the importance of every input of their experts: the mean square of what it was in recorded
 * rows, measured with the weights as they are stored.
 */
export class CalibratedBlocks implements Blocks {
  readonly #blocks: Blocks;
  readonly #recorded: LayerInputs;

  constructor(blocks: Blocks, recorded: LayerInputs) {
    this.#blocks = blocks;
    this.#recorded = recorded;
  }

  get path(): string {
    return this.#blocks.path;
  }

  unmap(kept?: string): void {
    this.#blocks.unmap(kept);
  }

  /** As the checkpoint's own. */
  async parts(number: number, options: LoadOptions, reads = true): Promise<LayerParts> {
    const parts = await this.#blocks.parts(number, options, reads);
    if (parts.views.packed !== undefined)
      throw new ConfigError(
        `Expected a checkpoint to calibrate, got ${this.path}, which is packed`,
      );
    if (!countsInputs(parts.weightType))
      throw new ConfigError(
        `Expected \`weightType\` to be one that is calibrated, as 'int4', got '${parts.weightType}'`,
      );
    this.#recorded.checkInputs(number, parts.hiddenSize);
    if (!reads) return parts;
    return { ...parts, views: await this.#calibrated(number, parts) };
  }

  async #calibrated(number: number, parts: LayerParts): Promise<LayerViews> {
    const { views, hiddenSize, signal } = parts;
    const rows = await this.#recorded.inputs(number, hiddenSize);
    await using layer = await MoELayer.fromParts({
      ...parts,
      device: 'cpu',
      weightType: storedType(views, 'cpu'),
      weightGroup: undefined,
      activationType: undefined,
      onProgress: undefined,
    });
    const choices = await this.#recorded.choosing(layer, number);
    const measured = await measure(layer, parts, rows, choices, signal);
    return withImportance(views, measured);
  }
}

/** Sums of squares of what products read, and of how many rows. */
interface Measured {
  /** `[E]` */
  tokens: Float64Array;
  /** `[E, R]`, `[E, I]` */
  routed: Float64Array;
  between: Float64Array;
  /** `[H]`, `[S]`, over all tokens. */
  all: Float64Array;
  shared: Float64Array;
}

async function measure(
  layer: MoELayer,
  { hiddenSize, sharedSize }: LayerParts,
  rows: Float32Array,
  given: GivenChoices,
  signal: AbortSignal | undefined,
): Promise<Measured> {
  const { config, intermediateSize, latentSize = hiddenSize } = layer;
  const { expertNum, numExpertsChosen } = config;
  const count = rows.length / hiddenSize;
  const choices = choicesOf(given, count, layer);
  const sums: Measured = {
    tokens: new Float64Array(expertNum),
    routed: new Float64Array(expertNum * latentSize),
    between: new Float64Array(expertNum * intermediateSize),
    all: new Float64Array(hiddenSize),
    shared: new Float64Array(sharedSize),
  };
  for (let begin = 0; begin < count; begin += batchTokens) {
    signal?.throwIfAborted();
    const end = Math.min(count, begin + batchTokens);
    const call = {
      hidden: rows.subarray(begin * hiddenSize, end * hiddenSize),
      dtype: 'float32' as const,
      tokens: end - begin,
      experts: choices?.subarray(begin * numExpertsChosen, end * numExpertsChosen),
      ...{ routedTokens: sums.tokens, routedSquares: sums.routed },
      intermediateSquares: sums.between,
      sharedSquares: sums.shared,
    };
    await settled(() => layer.native.forward(call));
  }
  if (sharedSize > 0)
    for (let i = 0; i < rows.length; i++)
      sums.all[i % hiddenSize] = (sums.all[i % hiddenSize] as number) + (rows[i] as number) ** 2;
  return sums;
}

/** What experts read is weighed by the tokens that chose them, and a little by those of all experts together. */
function withImportance(views: LayerViews, measured: Measured): LayerViews {
  const { tokens, routed, between, all, shared } = measured;
  const experts = views.experts.length;
  const [width, inner] = [routed.length / experts, between.length / experts];
  const slots = tokens.reduce((a, b) => a + b, 0);
  const ofAll = new Float64Array(width);
  for (const [i, sum] of routed.entries())
    ofAll[i % width] = (ofAll[i % width] as number) + sum / Math.max(1, slots);
  const weighed = views.experts.map((expert, index) => {
    const count = tokens[index] as number;
    const read = routed.subarray(index * width, (index + 1) * width);
    const inside = between.subarray(index * inner, (index + 1) * inner);
    // What is inside one expert says nothing of another's: all inputs of its down are alike before it is seen.
    const alike = count === 0 ? 1 : inside.reduce((a, b) => a + b, 0) / count / inner;
    return weigh(
      expert,
      blended(read, count, (i) => ofAll[i] as number),
      blended(inside, count, () => alike),
    );
  });
  return {
    ...{ ...views, experts: weighed },
    ...(views.shared && { shared: weigh(views.shared, importance(all), importance(shared)) }),
  };
}

const blended = (sums: Float64Array, count: number, prior: (i: number) => number): Float32Array =>
  importance(sums.map((sum, i) => (sum + priorTokens * prior(i)) / (count + priorTokens)));

/** In units of the largest, which float32 has room for. */
function importance(squares: Float64Array): Float32Array {
  const most = squares.reduce((a, b) => Math.max(a, b), 0) || 1;
  return Float32Array.from(squares, (square) => square / most);
}

function weigh(expert: ExpertView, outer: Float32Array, inner: Float32Array): ExpertView {
  const with_ = (matrix: MatrixView, values: Float32Array) => ({ ...matrix, importance: values });
  return {
    ...expert,
    ...(expert.gate && { gate: with_(expert.gate, outer) }),
    up: with_(expert.up, outer),
    down: with_(expert.down, inner),
  };
}
