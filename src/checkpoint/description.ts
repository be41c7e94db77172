import { describe } from '../base/checks.js';
import { ConfigError } from '../base/errors.js';
import { expectKind, given, type Kind, type Row } from '../base/rows.js';
import { configOf, MoEConfig, type MoEConfigOptions } from '../config/config.js';
import { type LayerPlace, optionNotKnown, readHuggingFace } from '../config/hugging_face.js';
import { type Activation, type ExpertOptions, expertRows } from '../layer/experts.js';
import {
  heldRows,
  type LoadOptions,
  layerRows,
  type WeightType,
  weightNames,
} from '../layer/options.js';
import type { FoundLayers } from './families/find_layers.js';
import { LayerTensors, type StoredTensor } from './families/layer_tensors.js';
import { measureLayer, storedType } from './families/measure.js';
import { familyWeights, type WeightNeeds } from './families/read_layer.js';
import type { LayerSizes } from './families/sizes.js';
import { inConfig, isMindFormers, type ModelClaims } from './model_claims.js';
import type { PackedDescription } from './packed/format.js';

/** The only device that takes weights packed before. */
export const packedDevice = 'cpu';

/** How packed layers are held. */
export type PackedAs = Pick<
  PackedDescription,
  'layout' | 'weightType' | 'weightGroup' | 'activationType'
>;

/** What a checkpoint says of one of its MoE layers. */
export interface Description extends LayerSizes {
  modelType: string;
  config: MoEConfig;
  weightType: WeightType;
  /** What experts compute, and on rows of which width. */
  experts: ExpertOptions & { activation: Activation };
  needs: WeightNeeds;
  /** Whether `config` is the model's own, or only what the tensors' shapes tell. */
  described: boolean;
  /** Present where the layers are packed. */
  packed?: PackedAs;
}

/** What its headers say of a layer's tensors. */
export interface StoredLayer {
  prefix: string;
  stored: ReadonlyMap<string, StoredTensor>;
}

export function describePacked(packed: PackedDescription): Description {
  const { layout, weightType, weightGroup, activationType } = packed;
  const as = { layout, weightType, weightGroup, activationType };
  const experts = { activation: packed.activation, ...given(expertRows, packed) };
  return { ...packed, experts, needs: {}, described: true, packed: as };
}

/** The name of a layout in plain text. */
export const layoutName = ({ layout }: Pick<FoundLayers, 'layout'>): string =>
  layout.name.replaceAll('`', '');

/**
 * Describes layers by the config and, where it says nothing, by the tensors of one of them.
 *
 * @returns what is said of the layer of a number
 */
export function describeModel(
  { config: claimed, configPath, quantisation }: ModelClaims,
  found: FoundLayers,
  { prefix, stored }: StoredLayer,
): (layer: number) => Description {
  const tensors = new LayerTensors(prefix, stored, undefined, undefined, quantisation);
  if (claimed === undefined || isMindFormers(claimed)) {
    const measured = measureLayer(tensors, found.layout);
    const { expertNum, intermediateSize, sharedSize } = measured;
    const config =
      claimed === undefined
        ? new MoEConfig({ expertNum, sharedExpertNum: sharedSize / intermediateSize })
        : inConfig(configPath, () => MoEConfig.parse(claimed));
    const modelType = layoutName(found);
    const described = claimed !== undefined;
    const { activation, ...sizes } = measured;
    return () => ({ ...sizes, modelType, config, experts: { activation }, needs: {}, described });
  }
  const described = new Map<number, Description>();
  return (layer) => {
    const known = described.get(layer) ?? {
      ...inConfig(configPath, () =>
        describedBy(claimed, found, { layer, stack: found.row.stack?.name }, tensors),
      ),
    };
    described.set(layer, known);
    return known;
  };
}

function describedBy(
  parsed: object,
  { layout }: FoundLayers,
  at: LayerPlace,
  tensors: LayerTensors,
): Description {
  const reading = readHuggingFace(parsed, at);
  const config = configOf(parsed, at, reading);
  const { modelType, hiddenSize, intermediateSize, sharedSize, activation } = reading.sizes;
  const { activation: _, expertTable, ...more } = reading.ofLayer;
  const latentSize = more.latentSize as number | undefined;
  const needs = { latentSize, expertTable: expertTable === true };
  const unknown = [
    ...unknownOptions({ activation, ...more }),
    ...familyWeights(layout, needs).filter((name) => !weightNames.some((known) => known === name)),
  ];
  for (const name of unknown)
    throw optionNotKnown(parsed, at, name, 'layers do not have it, or not as this');
  const { expertNum } = config;
  const experts = { count: expertNum, features: latentSize ?? hiddenSize, width: intermediateSize };
  return {
    ...{ modelType, config, expertNum, hiddenSize, intermediateSize, sharedSize },
    ...{ needs, described: true },
    experts: { activation, ...more } as Description['experts'],
    weightType: storedType(tensors, layout, experts),
  };
}

/** Options that layers do not have, or not with these values. */
function unknownOptions(options: Readonly<Record<string, unknown>>): string[] {
  const rows: Readonly<Record<string, Row>> = layerRows;
  return Object.keys(options).filter((name) => {
    const { [name]: row } = rows;
    return row === undefined || (options[name] !== null && !isOfKind(options[name], row.kind));
  });
}

function isOfKind(value: unknown, kind: Kind): boolean {
  try {
    expectKind('option', value, kind);
    return true;
  } catch {
    return false;
  }
}

export const asPacked = ({ layout, ...held }: PackedAs): Omit<PackedAs, 'layout'> => held;

/** Throws `ConfigError` where options ask for other weights than the packed ones. */
export function expectAsPacked(path: string, packed: PackedAs, options: LoadOptions): void {
  const asked: Record<string, unknown> = given(heldRows, options);
  for (const [name, was] of Object.entries({ ...asPacked(packed), device: packedDevice })) {
    const value = asked[name];
    if (value !== undefined && value !== was && !(name === 'device' && value === 'auto'))
      throw new ConfigError(
        `Expected \`${name}\` to be left out${was === undefined ? '' : ` or ${describe(was)}`}, as ${path} was packed, ` +
          `got ${describe(value)}`,
      );
  }
}

/**
 * The changed config. What a model's own code adds to `TopkRouterV2` is no choice of the user's, so it does not stand in
 * the way of `TopkRouterV1`.
 */
export function withChanges(config: MoEConfig, changes: Partial<MoEConfigOptions>): MoEConfig {
  const plain = { normTopkEpsilon: undefined, excludeMaskedGroups: undefined };
  return config.with({ ...(changes.routingPolicy === 'TopkRouterV1' && plain), ...changes });
}
