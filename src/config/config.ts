import { expectKnownNames, expectObject, unexpected } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { expectOptions } from '../base/rows.js';
import { checkFields, type RawFields } from './check_fields.js';
import { diagnose } from './diagnose.js';
import { defaults, fieldNames, type MoEConfigFields, snakeCase, toSnakeCase } from './fields.js';
import {
  expectKnownOptions,
  type HuggingFaceReading,
  type LayerPlace,
  placeRows,
  readHuggingFace,
} from './hugging_face.js';
import { checkOtherFields } from './other_fields.js';
import { parseFields } from './parse.js';

export type {
  AuxLossType,
  MoEConfigFields,
  RoutingPolicy,
  ScoreFunction,
  TopkMethod,
} from './fields.js';
export type { LayerPlace } from './hugging_face.js';

/** Fields of `MoEConfig`; one left out or undefined takes its default. */
export type MoEConfigOptions = {
  [Field in keyof MoEConfigFields]?: MoEConfigFields[Field] | undefined;
};

/** Nothing but the type: the constructor assigns every field that `MoEConfigFields` has. */
const Fields = Object as unknown as new () => MoEConfigFields;

/** How a Mixture-of-Experts layer routes: MindFormers' `MoEConfig`, checked once, then frozen. */
export class MoEConfig extends Fields {
  readonly #notes: readonly string[];

  /**
   * @param notes what `diagnostics` says besides what the fields themselves give rise to
   * @throws `ConfigError` on the first field that cannot describe a layer, or whose name is unknown
   */
  constructor(options: MoEConfigOptions = {}, notes: readonly string[] = []) {
    super();
    expectObject('options', options);
    refuseSnakeCase(options);
    expectKnownNames('MoEConfig', options, fieldNames);
    if (!Array.isArray(notes) || notes.some((note) => typeof note !== 'string'))
      throw unexpected('notes', 'a list of sentences', notes);
    const fields = withDefaults({ ...options });
    checkFields(fields);
    this.#notes = Object.freeze([...notes]);
    Object.freeze(Object.assign(this, fields));
  }

  /**
   * Reads MindFormers YAML or JSON text, or an object like it. A `moe_config:` key is entered. Names are in snake_case or
   * camelCase. MindFormers' other fields are accepted where they cannot change a layer's output, and listed in
   * `diagnostics`.
   *
   * @throws `ConfigError` for anything else; with line and column where the text is neither YAML nor JSON
   */
  static parse(source: string | object): MoEConfig {
    const { options, others } = parseFields(source);
    const config = new MoEConfig(options as MoEConfigOptions);
    return new MoEConfig(config, checkOtherFields(others, config));
  }

  /**
   * The routing of a Hugging Face model, from its parsed `config.json`: `TopkRouterV2` without capacity, with the scores,
   * groups, normalisation and scaling of the model's own code.
   *
   * @param at the layer's number, in models whose layers differ, and the stack, in models with several
   * @throws `ConfigError` for an unknown `model_type`, a missing key, a value that the family does not have, or a key of
   *   another family that changes what the block computes
   */
  static fromHuggingFace(config: object, at: LayerPlace = {}): MoEConfig {
    expectOptions('MoEConfig.fromHuggingFace', at, placeRows);
    return configOf(config, at, readHuggingFace(config, at));
  }

  /** One sentence for each field that was set and has no effect here. Empty when every field counts. */
  get diagnostics(): readonly string[] {
    return Object.freeze([...diagnose(this), ...this.#notes]);
  }

  /**
   * A config that differs in the fields given; undefined puts one back to its default.
   *
   * @throws `ConfigError` as the constructor does
   */
  with(changes: MoEConfigOptions): MoEConfig {
    expectObject('changes', changes);
    return new MoEConfig({ ...this, ...changes }, this.#notes);
  }

  /** Whether every field is the same. */
  equals(other: MoEConfig | undefined): boolean {
    return (
      other instanceof MoEConfig && fieldNames.every((name) => sameValue(this[name], other[name]))
    );
  }

  /** The fields under MindFormers' snake_case names; `MoEConfig.parse` reads them back. */
  toJSON(): Record<string, unknown> {
    return toSnakeCase(this);
  }
}

/** The routing that was read out of a model's config. What is wrong with it is told in that config's names. */
export function configOf(config: object, at: LayerPlace, reading: HuggingFaceReading): MoEConfig {
  expectKnownOptions(config, at, reading);
  const { options, notes, names } = reading;
  try {
    return new MoEConfig(options, notes);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const message = error.message.replace(
      /`(\w+)`/g,
      (field, option) => `\`${names.get(option) ?? field.slice(1, -1)}\``,
    );
    throw new ConfigError(message, { cause: error });
  }
}

function refuseSnakeCase(options: object): void {
  const names = new Map(fieldNames.map((name) => [snakeCase(name), name]));
  for (const given of Object.keys(options)) {
    const name = names.get(given);
    if (name !== undefined && name !== given)
      throw new ConfigError(
        `Expected the option \`${name}\`, got \`${given}\`: MoEConfig.parse takes snake_case names`,
      );
  }
}

/** Every field, the options' where given; lists are copied and frozen. */
function withDefaults(options: Readonly<Record<string, unknown>>): RawFields {
  const fields: Record<string, unknown> = { ...defaults };
  for (const name of fieldNames) {
    const value = options[name];
    if (value !== undefined)
      fields[name] = Array.isArray(value) ? Object.freeze([...value]) : value;
  }
  return fields as RawFields;
}

function sameValue(a: unknown, b: unknown): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return a === b;
  return a.length === b.length && a.every((element, index) => element === b[index]);
}
