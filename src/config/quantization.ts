/** By `quant_method`, the forms of quantised weights that are read: keys of the description and the values they may have. */
const supported: ReadonlyMap<string, Readonly<Record<string, readonly string[]>>> = new Map<
  string,
  Readonly<Record<string, readonly string[]>>
>([
  ['fp8', { fmt: ['e4m3'], weight_block_size: ['128,128'] }],
  ['fbgemm_fp8', {}],
  ['mxfp4', {}],
  ['modelopt', { quant_algo: ['FP8'] }],
  [
    'compressed-tensors',
    { format: ['float-quantized'], type: ['float'], num_bits: ['8'], block_structure: ['128,128'] },
  ],
]);

/** For messages. */
export const supportedQuantizations =
  'fp8 (e4m3; a scale for blocks of 128 x 128, a row or the matrix), fbgemm_fp8, mxfp4, modelopt FP8, ' +
  'compressed-tensors float-quantized';

/**
 * Names a quantisation that is not read.
 *
 * @param description `quantization_config` of a `config.json`, or what a file of the quantising tool says
 * @param byDefault the method where the description names none
 * @returns undefined where weights like that are read
 */
export function unsupportedQuantization(
  description: unknown,
  byDefault: string,
): string | undefined {
  if (description === undefined || description === null) return undefined;
  const outer = recordOf(description);
  const method = String(outer.quant_method ?? byDefault);
  const allowed = supported.get(method);
  if (allowed === undefined) return method;
  const groups = Object.values(recordOf(outer.config_groups)).map(recordOf);
  const parts = [outer, ...groups, ...groups.map(({ weights }) => recordOf(weights))];
  for (const part of parts)
    for (const [key, values] of Object.entries(allowed)) {
      const value = part[key] ?? undefined;
      if (value !== undefined && !values.includes(String(value)))
        return `${method}, ${key} ${String(value)}`;
    }
  return undefined;
}

function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
