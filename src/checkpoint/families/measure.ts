import type { ExpertsAt, Layout } from '../../families/layout.js';
import type { Activation } from '../../layer/experts.js';
import type { DType } from '../../layer/weights.js';
import type { LayerTensors } from './layer_tensors.js';
import { chosenAt, type ExpertSizes, fits, nameOf, widthAt } from './matrices.js';
import type { LayerSizes } from './sizes.js';

/** What the tensors alone say about a layer. */
export interface LayerMeasure extends LayerSizes {
  weightType: DType | 'published';
  /** What the experts compute unless a config says otherwise. */
  activation: Activation;
}

/**
 * Reads sizes and type off the tensors' shapes.
 *
 * @throws `CheckpointError` where they cannot be told
 */
export function measureLayer(tensors: LayerTensors, layout: Layout): LayerMeasure {
  const shape = tensors.shape(layout.router.name, 2) as [number, number];
  const [expertNum, hiddenSize] = layout.router.axes === 'io' ? [shape[1], shape[0]] : shape;
  const latent = layout.latentDown?.name;
  const features =
    latent !== undefined && tensors.has(latent)
      ? (tensors.shape(latent, 2)[0] as number)
      : hiddenSize;
  const experts = sizesAt(tensors, layout.experts, { count: expertNum, features });
  const shared = layout.shared?.filter(({ down }) => tensors.has(down.name)) ?? [];
  return {
    expertNum,
    hiddenSize,
    intermediateSize: experts.width,
    sharedSize:
      shared.length === 0 ? 0 : sizesAt(tensors, shared, { count: 1, features: hiddenSize }).width,
    weightType: storedType(tensors, layout, experts),
    activation: (layout.activation ?? 'swiglu') as Activation,
  };
}

/** The sizes of the first way that fits them; of the first that is there where none does. */
function sizesAt(
  tensors: LayerTensors,
  ways: readonly ExpertsAt[],
  { count, features }: Omit<ExpertSizes, 'width'>,
): ExpertSizes {
  const there = ways.filter(({ down }) => tensors.has(storedName(down, count)));
  const measured = (there.length > 0 ? there : ways).map((at) => {
    const sizes = { count, features, width: widthAt(tensors, at.down, count) };
    return { sizes, fits: fits(tensors, at, sizes) };
  });
  return (measured.find((way) => way.fits) ?? measured[0])?.sizes as ExpertSizes;
}

const storedName = ({ name, mxfp4 }: ExpertsAt['down'], count: number) =>
  mxfp4 ? `${name}_blocks` : nameOf(name, 0, count);

/** The type that holds the first expert's second matrix. */
export function storedType(tensors: LayerTensors, layout: Layout, sizes: ExpertSizes) {
  const { up } = chosenAt(tensors, layout.experts, sizes);
  return up.mxfp4 ? 'published' : tensors.dtype(nameOf(up.name, 0, sizes.count));
}
