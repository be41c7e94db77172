/** How experts can be held, as native/core/weights/formats has it: bits of a weight, and what `weightGroup` may be. */
export const weightFormats = {
  float32: { bits: 32, groups: [] },
  bfloat16: { bits: 16, groups: [] },
  float16: { bits: 16, groups: [] },
  int8: { bits: 8, groups: [32, 64, 128, 'all'] },
  int4: { bits: 4, groups: [32, 64, 128] },
} as const;

/** How experts are held in memory. `int8` and `int4` have a scale per group of inputs: a weight is `q * scale`. */
export type WeightType = keyof typeof weightFormats;
export const weightTypes = Object.keys(weightFormats) as WeightType[];

/** How many inputs of an output feature share a scale. `'all'`: one scale per output feature. */
export type WeightGroup = (typeof weightFormats)[WeightType]['groups'][number];
export const weightGroupsOf = (type: WeightType): readonly WeightGroup[] =>
  weightFormats[type].groups;
export const weightGroups = [...new Set(weightTypes.flatMap(weightGroupsOf))];

/** Whether weights of this type have scales. */
export const hasScales = (type: WeightType): boolean => weightGroupsOf(type).length > 0;

/** Bits of what a group of weights has beside them: a scale. */
const scaleBits = 16;

/** Bytes of an output feature's weights. `group`: inputs that share a scale; 0: all of them. */
export function featureBytes(type: WeightType, inputs: number, group: number): number {
  const scales = hasScales(type) ? (group === 0 ? 1 : Math.ceil(inputs / group)) : 0;
  return Math.ceil((inputs * weightFormats[type].bits + scales * scaleBits) / 8);
}
