// Where a layer's weights stand.
import type { NativeAttention, NativeAttentionViews } from '../binding/model.js';
import type { LayerWeightViews, MatrixView, VectorView } from '../binding/views.js';
import type { LayerTensors } from '../checkpoint/families/layer_tensors.js';
import type { LayerDescription } from './describe.js';
import {
  denseTensors,
  groupedTensors,
  type LayerWidths,
  latentTensors,
} from './families/tensors.js';

/** Where tensors are found by their names. */
export type TensorViews = Pick<LayerTensors, 'matrix' | 'vector'>;

/** @throws `CheckpointError` naming the tensor that is missing, or of another shape or type */
export function attentionViews(
  tensors: TensorViews,
  { attention, parts }: LayerDescription,
  hidden: number,
): NativeAttentionViews {
  const widths = widthsOf(attention, hidden);
  const table = attention.kind === 'grouped' ? groupedTensors : latentTensors;
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

/** A dense feed-forward part is a layer of nothing but an always-on expert. */
export function denseViews(tensors: TensorViews, width: number, hidden: number): LayerWeightViews {
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
  };
}
