// Where a config says how positions turn queries and keys: in one of two spellings, for all layers or for types of them.
import { expectNumber, expectObject } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import type { DecoderRow } from './families/row.js';
import type { ModelKeys } from './model_keys.js';
import type { LayerKind } from './windows.js';

type Json = Readonly<Record<string, unknown>>;

/** What a config says of rope, for each kind of layer. */
export class RopeConfig {
  readonly #keys: ModelKeys;
  readonly #row: DecoderRow;
  readonly #described: Json;

  constructor(keys: ModelKeys, row: DecoderRow) {
    this.#keys = keys;
    this.#row = row;
    const [newer, older] = [keys.get('rope_parameters'), keys.get('rope_scaling')];
    if (
      newer !== undefined &&
      older !== undefined &&
      JSON.stringify(newer) !== JSON.stringify(older)
    )
      throw new ConfigError(
        'Expected `rope_parameters` and `rope_scaling` to be the same, as they are two names of one key',
      );
    const described = newer ?? older ?? row.rope ?? {};
    expectObject(newer === undefined ? 'rope_scaling' : 'rope_parameters', described);
    this.#described = described;
  }

  /** The description for a kind of layer: the same object where it is the same for all. */
  for(kind: LayerKind): Json {
    if (!this.#isNested) return this.#described;
    const own = this.#described[kind];
    expectObject(`rope_parameters.${kind}`, own);
    return own;
  }

  theta(kind: LayerKind): number {
    const inside = this.for(kind)['rope_theta'] ?? undefined;
    const outside = this.#keys.number('rope_theta', { above: 0 }, this.#row.theta);
    if (inside === undefined) return outside;
    expectNumber('rope_parameters.rope_theta', inside, { above: 0 });
    return inside;
  }

  /** How much of each head is rotated. */
  get part(): number {
    const { attention } = this.#row;
    const byDefault = attention.kind === 'grouped' ? attention.rotatedPart : undefined;
    const kinds = this.#isNested ? Object.keys(this.#described) : [undefined];
    const parts = kinds.map((kind) => {
      const described = kind === undefined ? this.#described : this.for(kind as LayerKind);
      const inside = described['partial_rotary_factor'] ?? undefined;
      const part =
        inside ??
        this.#keys.number('partial_rotary_factor', { above: 0, atMost: 1 }, byDefault ?? 1);
      expectNumber('partial_rotary_factor', part, { above: 0, atMost: 1 });
      return part;
    });
    const [part = 1] = parts;
    if (parts.some((other) => other !== part) || (byDefault === undefined && part !== 1))
      throw new ConfigError(
        `Expected \`partial_rotary_factor\` to be ${byDefault === undefined ? 'left out or 1' : 'the same in all layers'}, ` +
          `got ${parts.join(' and ')}`,
      );
    return part;
  }

  get #isNested(): boolean {
    return Object.keys(this.#described).some((key) => key.endsWith('_attention'));
  }
}
