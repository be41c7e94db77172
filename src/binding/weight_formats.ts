/**
 * The formats of native/core/weights/formats: bits of a weight, what `weightGroup` may be, and whether quantising heeds how
 * much each input counts.
 */
export const weightFormats = {
  float32: { bits: 32, groups: [] },
  bfloat16: { bits: 16, groups: [] },
  float16: { bits: 16, groups: [] },
  int8: { bits: 8, groups: [32, 64, 128, 'all'] },
  int4: { bits: 4, groups: [32, 64, 128], countsInputs: true },
} as const;

/** A weight type that is the same for every matrix. */
export type WeightFormat = keyof typeof weightFormats;
export const weightFormatNames = Object.keys(weightFormats) as WeightFormat[];

/**
 * How experts are held in memory. `int8` and `int4` have a scale per group of inputs: a weight is `q * scale`.
 * `published`: every matrix as the checkpoint has it, quantised ones without loss, in about as many bits.
 */
export type WeightType = WeightFormat | 'published';
export const weightTypes: readonly WeightType[] = [...weightFormatNames, 'published'];

/** How many inputs of an output feature share a scale. `'all'`: one scale per output feature. */
export type WeightGroup = (typeof weightFormats)[WeightFormat]['groups'][number];
export const weightGroupsOf = (type: WeightType): readonly WeightGroup[] =>
  type === 'published' ? [] : weightFormats[type].groups;
export const weightGroups = [...new Set(weightTypes.flatMap(weightGroupsOf))];

/** Whether weights of this type have scales that `weightGroup` is about. */
export const hasScales = (type: WeightType): boolean => weightGroupsOf(type).length > 0;

/** What rows are multiplied as. */
export const activationTypes = ['float', 'bfloat16', 'int8'] as const;
/** What rows are rounded to before each product: nothing, bfloat16, or int8, which makes it a product of integers. */
export type ActivationType = (typeof activationTypes)[number];

/** What rows are multiplied as beside weights of this type, where `asked` was said of weights of any. */
export const rowsBeside = (type: WeightType, asked: ActivationType): ActivationType =>
  asked === 'int8' && !hasIntegers(type) ? 'float' : asked;

/** Whether weights of this type are quantised by how much their inputs count. */
export const countsInputs = (type: WeightType): boolean =>
  type !== 'published' && 'countsInputs' in weightFormats[type];

/** Whether products with weights of this type may be of integers. */
export const hasIntegers = (type: WeightType): boolean => type === 'published' || hasScales(type);

/** Bits of what a group of weights has beside them: a scale. */
const scaleBits = 16;

/** Bytes of an output feature's weights. `group`: inputs that share a scale; 0: all of them. */
export function featureBytes(type: WeightFormat, inputs: number, group: number): number {
  const scales = hasScales(type) ? (group === 0 ? 1 : Math.ceil(inputs / group)) : 0;
  return Math.ceil((inputs * weightFormats[type].bits + scales * scaleBits) / 8);
}
