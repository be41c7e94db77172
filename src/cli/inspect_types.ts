// The types that a checkpoint's tensors are stored in, by kinds of tensors.
import type { TensorEntry } from '../checkpoint/containers/header.js';
import { counted, facts } from './text.js';

/** Tensors that have one name but for the numbers in it. */
export interface KindOfTensor {
  /** As the file has it, with `*` for numbers of layers and experts. */
  tensor: string;
  /** Each with the layers that have it; none of what stands outside of layers. */
  types: { dtype: string; layers: number[] }[];
}

export function typesOf(entries: Iterable<TensorEntry>): KindOfTensor[] {
  const kinds = new Map<string, Map<string, Set<number>>>();
  for (const { name, ownName = name, dtype } of entries) {
    const [, layer] = /(?:^|\.)(\d+)(?=\.)/.exec(ownName) ?? [];
    const kind = ownName.replace(/(^|\.)\d+(?=\.|$)/g, '$1*');
    const types = kinds.get(kind) ?? new Map<string, Set<number>>();
    const layers = types.get(typeName(dtype)) ?? new Set<number>();
    if (layer !== undefined) layers.add(Number(layer));
    kinds.set(kind, types.set(typeName(dtype), layers));
  }
  return [...kinds].map(([tensor, types]) => ({
    tensor,
    types: [...types]
      .map(([dtype, layers]) => ({ dtype, layers: [...layers].sort((a, b) => a - b) }))
      .sort((a, b) => b.layers.length - a.layers.length),
  }));
}

/** As people write types of blocks: Q4_K. */
export const typeName = (dtype: string): string => dtype.toUpperCase();

/** Kinds that are named of those that are stored alike. */
const mostNames = 12;

/** Kinds by how they are stored: `Q4_K in 36 layers, Q6_K in 12`. */
export function typesText(kinds: readonly KindOfTensor[]): string {
  const alike = new Map<string, string[]>();
  for (const { tensor, types } of kinds) {
    const text = types
      .map(({ dtype, layers }, at) => {
        if (types.length === 1) return dtype;
        return `${dtype} in ${at === 0 ? counted(layers.length, 'layer') : layers.length}`;
      })
      .join(', ');
    alike.set(text, [...(alike.get(text) ?? []), tensor]);
  }
  const further = (count: number) => (count > 0 ? ` and ${count} more` : '');
  return facts(
    [...alike].map(([types, names]) => [
      types,
      names.slice(0, mostNames).join(', ') + further(names.length - mostNames),
    ]),
  );
}
