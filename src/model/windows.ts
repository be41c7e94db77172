import { expectBoolean, expectOneOf, unexpected } from '../base/checks.js';
import type { WindowRow } from './families/row.js';
import type { ModelKeys } from './model_keys.js';

const kinds = ['full_attention', 'sliding_attention'] as const;
/** What of the tokens before it a layer's attention sees. */
export type LayerKind = (typeof kinds)[number];

/** What every layer of a model sees, and the window of those that have one (0: none do). */
export interface Windows {
  readonly kinds: readonly LayerKind[];
  readonly size: number;
}

/** Throws `ConfigError` for layers that see a window of no size, and for a pattern that the family does not have. */
export function windowsOf(keys: ModelKeys, row: WindowRow | undefined, layers: number): Windows {
  const named = keys.get('layer_types');
  const size = row === undefined ? 0 : sizeOf(keys, row);
  const byRule = Array.from(
    { length: layers },
    (_, layer): LayerKind =>
      size > 0 && row !== undefined && isSliding(keys, row, layer)
        ? 'sliding_attention'
        : 'full_attention',
  );
  if (named === undefined) return { kinds: byRule, size };
  if (!Array.isArray(named) || named.length !== layers)
    throw unexpected('layer_types', `a list of ${layers}, one for each layer`, named);
  for (const [layer, kind] of named.entries()) {
    expectOneOf(`layer_types[${layer}]`, kind, kinds);
    if (row?.byType && (kind === 'full_attention' || size > 0)) continue;
    if (kind !== byRule[layer])
      throw unexpected(
        `layer_types[${layer}]`,
        `'${byRule[layer]}', as the model's other keys say and its class reads`,
        kind,
      );
  }
  return { kinds: named as LayerKind[], size };
}

function sizeOf(keys: ModelKeys, row: WindowRow): number {
  if (row.asked) {
    const asked = keys.get('use_sliding_window') ?? false;
    expectBoolean('use_sliding_window', asked);
    if (!asked) {
      keys.ignore(['sliding_window']);
      return 0;
    }
  }
  // Null says none, and an absent key what the class does.
  if (keys.isNull('sliding_window')) return 0;
  return (keys.get('sliding_window') ?? row.default) === null
    ? 0
    : keys.integer('sliding_window', row.default ?? undefined);
}

function isSliding(keys: ModelKeys, { even, side }: WindowRow, layer: number): boolean {
  if (even && layer % 2 === 1) return false;
  if (side === undefined) return true;
  const border = keys.count('max_window_layers', side.default);
  return side.of === 'behind' ? layer >= border : layer < border;
}
