// Where a layer's weights stand.
import type { NativeAttention, NativeAttentionViews, NativeOuterViews } from '../binding/model.js';
import type { LayerWeightViews, MatrixView, VectorView } from '../binding/views.js';
import type { LayerTensors } from '../checkpoint/families/layer_tensors.js';
import type { LayerDescription, ModelDescription } from './describe.js';
import {
  denseTensors,
  feedForwardNorm,
  groupedTensors,
  type LayerWidths,
  latentTensors,
  outerTensors,
  splitLatentUp,
  type TensorRow,
} from './families/tensors.js';
import type { LayerOfModel } from './model_source.js';

/** Where tensors are found by their names. */
export type TensorViews = Pick<LayerTensors, 'has' | 'matrix' | 'vector'>;

/**
 * A layer but for a Mixture-of-Experts block.
 *
 * @throws `CheckpointError` naming the tensor that is missing, or of another shape or type
 */
export function layerViews(
  tensors: TensorViews,
  layer: LayerDescription,
  hidden: number,
): Omit<LayerOfModel, 'notes'> {
  const views = {
    attention: attentionViews(tensors, layer, hidden),
    feedForwardNorm: tensors.vector(feedForwardNorm, hidden),
  };
  const { dense } = layer;
  return { views, ...(dense && { dense: denseViews(tensors, dense.width, hidden) }) };
}

/**
 * What stands before and behind the layers.
 *
 * @throws what `layerViews` throws
 */
export function outerViews(
  tensors: TensorViews,
  { spec, tied }: ModelDescription,
): NativeOuterViews {
  const { hiddenSize, vocabularySize } = spec;
  const matrix = (name: string) => tensors.matrix(name, vocabularySize, hiddenSize);
  const embedding = matrix(outerTensors.embedding);
  return {
    embedding,
    norm: tensors.vector(outerTensors.norm, hiddenSize),
    head: tied ? embedding : matrix(outerTensors.head),
  };
}

function attentionViews(
  tensors: TensorViews,
  { attention, parts }: LayerDescription,
  hidden: number,
): NativeAttentionViews {
  const widths = widthsOf(attention, hidden);
  const table = attention.kind === 'grouped' ? groupedTensors : latentTable(tensors);
  const views: Partial<Record<keyof NativeAttentionViews, MatrixView | VectorView>> = {};
  for (const row of table) {
    if (row.when !== undefined && !parts[row.when]) continue;
    const out = widths[row.out];
    views[row.view] =
      row.in === undefined
        ? tensors.vector(row.name, out)
        : tensors.matrix(row.name, out, widths[row.in]);
  }
  return views as NativeAttentionViews;
}

/** GGUF files have what latent attention is absorbed into by itself. */
function latentTable(tensors: TensorViews): readonly TensorRow[] {
  const [keys] = splitLatentUp as [TensorRow];
  return tensors.has(keys.name)
    ? latentTensors.flatMap((row) => (row.view === 'latentUp' ? splitLatentUp : [row]))
    : latentTensors;
}

/** A dense feed-forward part is a layer of nothing but an always-on expert. */
function denseViews(tensors: TensorViews, width: number, hidden: number): LayerWeightViews {
  return {
    experts: [],
    shared: {
      gate: tensors.matrix(denseTensors.gate, width, hidden),
      up: tensors.matrix(denseTensors.up, width, hidden),
      down: tensors.matrix(denseTensors.down, hidden, width),
    },
  };
}

function widthsOf(attention: NativeAttention, hidden: number): LayerWidths {
  const { kind, heads, kvHeads, headSize, norm, latentSize, queryLatentSize } = attention;
  const { nopeSize, valueSize, rotatedSize } = attention;
  const grouped = kind === 'grouped';
  const queries = heads * (grouped ? headSize : nopeSize + rotatedSize);
  const keys = kvHeads * headSize;
  const whole = norm === 'whole_row';
  return {
    ...{ hidden, heads, queries, keys },
    mixed: heads * (grouped ? headSize : valueSize),
    queryNorm: whole ? queries : headSize,
    keyNorm: whole ? keys : headSize,
    queryLatent: queryLatentSize,
    latent: latentSize,
    latentAndRotated: latentSize + rotatedSize,
    keysAndValues: heads * (nopeSize + valueSize),
    latentOfHeads: heads * latentSize,
    nope: nopeSize,
  };
}
