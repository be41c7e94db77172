import { compressedTensors } from './compressed_tensors.js';
import type { Quantisation } from './form.js';
import { Keys, UnknownForm } from './keys.js';
import { autoRoundTool, awqTool, gptqTool, mlxTool, modelOpt } from './tools.js';

/** For messages. */
export const supportedQuantisations =
  'fp8 (e4m3; a scale for blocks of 128 x 128, a row or the matrix), fbgemm_fp8, mxfp4, modelopt FP8 and NVFP4, gptq of ' +
  '4 and 8 bits, MLX of 2 to 6 and 8 bits, awq (gemm), auto-round in the layouts of both, compressed-tensors pack-quantized, int-quantized, float-quantized and ' +
  'nvfp4-pack-quantized';

/** Where the tensors say it all: scales of float8 by their shape, MXFP4 by the names that a layout has for it. */
const told: Quantisation = { formOf: () => undefined };

const readers: Readonly<Record<string, (description: unknown) => Quantisation>> = {
  fp8(description) {
    const keys = new Keys('fp8', description);
    keys.oneOf('fmt', 'e4m3');
    const block = keys.get('weight_block_size');
    if (block !== undefined && String(block) !== '128,128')
      throw keys.unknown('weight_block_size', block);
    return told;
  },
  fbgemm_fp8: () => told,
  mxfp4: () => told,
  modelopt: modelOpt,
  modelopt_fp4: modelOpt,
  'compressed-tensors': compressedTensors,
  gptq: gptqTool,
  awq: awqTool,
  'auto-round': autoRoundTool,
  MLX: mlxTool,
};

/**
 * Reads a description of quantised weights.
 *
 * @param description `quantization_config` of a `config.json`, or what a file of the quantising tool says
 * @param byDefault the method where the description names none
 * @throws `UnknownForm` naming what is not read
 */
export function readQuantisation(description: unknown, byDefault: string): Quantisation {
  const method = String(
    new Keys(byDefault, description, 'the description').get('quant_method') ?? byDefault,
  );
  const reader = Object.hasOwn(readers, method) ? readers[method] : undefined;
  if (reader === undefined) throw new UnknownForm(method);
  return reader(description);
}
