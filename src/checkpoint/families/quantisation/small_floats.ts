// Weights as floats of 4 and 8 bits, with their scales.
import type { MatrixView } from '../../../binding/views.js';
import { type Form, floatScales, stretches } from './form.js';

/** float8 with a scale for each block of so many outputs and inputs; 0: all of them. */
export function float8(outBlock: number, inBlock: number): Form {
  return {
    codes: '.weight',
    shapeOf: (out, inputs) => [out, inputs],
    featuresOf: ([out = 0, inputs = 0]) => [out, inputs],
    read(tensors, out, inputs): MatrixView {
      const block = { outBlock: outBlock || out, inBlock: inBlock || inputs };
      const columns = stretches(inputs, block.inBlock);
      const codes = tensors.block('.weight', { F8_E4M3: 'float8_e4m3' }, out, inputs);
      const scales = tensors.block(
        '.weight_scale',
        floatScales,
        stretches(out, block.outBlock),
        columns,
      );
      return {
        ...codes.matrix({ outFeatures: out, inFeatures: inputs }),
        scales: scales.scales({ ...block, outStride: columns }),
      };
    },
  };
}

/** A factor of all scales: of a tensor, and how it counts. */
interface Factor {
  readonly ending: '.weight_scale_2' | '.weight_global_scale';
  readonly is: 'factor' | 'divisor';
}

/** float4, two in a byte, with a scale of 8 bits for each group of inputs. */
export function float4(
  codes: '.weight' | '.weight_packed',
  group: 16 | 32,
  factor: Factor | undefined,
): Form {
  const scaleType =
    group === 16 ? ({ F8_E4M3: 'float8_e4m3' } as const) : ({ U8: 'float8_e8m0' } as const);
  return {
    codes,
    shapeOf: (out, inputs) => [out, stretches(inputs, 2)],
    featuresOf: ([out = 0, bytes = 0]) => [out, bytes * 2],
    read(tensors, out, inputs): MatrixView {
      const groups = stretches(inputs, group);
      const bytes = stretches(inputs, 2);
      const elements = tensors.block(codes, { U8: 'float4_e2m1' }, out, bytes);
      const scales = tensors.block('.weight_scale', scaleType, out, groups);
      const [of] = (factor && tensors.numbers(factor.ending, ['F32'], 1)) ?? [];
      if (factor !== undefined && of !== undefined && !(of > 0 && Number.isFinite(of)))
        throw tensors.error(factor.ending, 'a finite number above 0', String(of));
      return {
        ...elements.matrix({ outFeatures: out, inFeatures: inputs, outStride: bytes * 2 }),
        scales: {
          ...scales.scales({ outBlock: 1, inBlock: group, outStride: groups }),
          ...(factor && of !== undefined && { [factor.is]: of }),
        },
      };
    },
  };
}
