// A family's fixture: a small checkpoint as its models are published, and what its MoE blocks compute.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors } from '../../src/checkpoint/containers/write.js';
import type { Block } from './reference/block.js';
import { float32, type Spelling, type Tensors } from './spelling.js';

export type Config = Readonly<Record<string, unknown>>;

export interface Fixture {
  /** Model type and spelling. */
  name: string;
  modelType: string;
  /** How its experts are stored, and what else is said of it. */
  spelling: string;
  config: Config;
  /** By their whole names. */
  tensors: Tensors;
  /** Name of the stack to load, where the checkpoint has several. */
  stack?: string;
  /** Keys of the config that have the value which the model's class takes without them. */
  atDefault: readonly string[];
  /** Keys of the config that this layer has nothing to do with, as another stack's or as its class reads others. */
  ignored: readonly string[];
  reference: {
    /** What each MoE layer computes, by its number. */
    blocks: ReadonlyMap<number, Block>;
    /** Names of each MoE layer's own tensors. */
    names: ReadonlyMap<number, readonly string[]>;
    /** Numbers of layers without an MoE block that may be loaded: dense ones, and those that predict further tokens. */
    without: readonly number[];
  };
}

/** What a fixture is made of. */
export interface FixtureOptions {
  modelType: string;
  spelling: string;
  config: Config;
  /** What stands before a layer's number: `model.layers.` */
  root: string;
  /** By layer number. */
  blocks: Readonly<Record<number, Block>>;
  spell: Spelling;
  stack?: string;
  atDefault?: readonly string[];
  ignored?: readonly string[];
  /** Names of tensors that each layer has around its block. */
  around?: readonly string[];
  /** Tensors of a block that are another stack's. */
  beside?: Spelling;
  /** Numbers of dense layers, and the names of their tensors. */
  dense?: readonly number[];
  denseNames?: readonly string[];
  /** Layers behind the last that predict further tokens, and hold experts. */
  predicting?: Readonly<Record<number, Block>>;
  /** Whole names of other tensors. */
  others?: readonly string[];
  /** Other stacks' tensors by their whole names. */
  otherStacks?: Tensors;
}

export const attention = [
  'self_attn.q_proj.weight',
  'self_attn.o_proj.weight',
  'input_layernorm.weight',
  'post_attention_layernorm.weight',
] as const;
const dense = ['mlp.gate_proj.weight', 'mlp.up_proj.weight', 'mlp.down_proj.weight'] as const;
const predicting = [
  'eh_proj.weight',
  'enorm.weight',
  'hnorm.weight',
  'shared_head.norm.weight',
] as const;
const around = ['model.embed_tokens.weight', 'model.norm.weight', 'lm_head.weight'] as const;

/** Tensors that a block has nothing to do with. */
export function plain(names: readonly string[], prefix = ''): Tensors {
  const tensor = float32([3, 5], new Array<number>(15).fill(0.5));
  return Object.fromEntries(names.map((name) => [prefix + name, tensor]));
}

/** Blocks of layers under their whole names. */
export function stackTensors(
  root: string,
  blocks: Readonly<Record<number, Block>>,
  spell: Spelling,
  names: readonly string[] = attention,
): Tensors {
  return Object.assign(
    {},
    ...Object.entries(blocks).map(([layer, block]) => ({
      ...prefixed(`${root}${layer}.`, spell(block, Number(layer))),
      ...plain(names, `${root}${layer}.`),
    })),
  );
}

function prefixed(prefix: string, tensors: Tensors): Tensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => [prefix + name, tensor]),
  );
}

export function fixture(options: FixtureOptions): Fixture {
  const { modelType, spelling, config, root, spell, stack, atDefault = [], ignored = [] } = options;
  const { beside = () => ({}), predicting: further = {} } = options;
  const inLayer = options.around ?? attention;
  const blocks = Object.entries(options.blocks).map(
    ([layer, block]) => [Number(layer), block] as const,
  );
  const namesOf = ([layer, block]: (typeof blocks)[number]) =>
    Object.keys(spell(block, layer)).map((name) => `${root}${layer}.${name}`);
  const denseTensors = (options.dense ?? []).map((layer) =>
    plain([...inLayer, ...(options.denseNames ?? dense)], `${root}${layer}.`),
  );
  return {
    name: `${modelType}, ${spelling}`,
    modelType,
    spelling,
    config,
    tensors: {
      ...plain(options.others ?? around),
      ...stackTensors(root, options.blocks, beside, []),
      ...stackTensors(root, options.blocks, spell, inLayer),
      ...stackTensors(root, further, spell, [...inLayer, ...predicting]),
      ...Object.assign({}, ...denseTensors),
      ...options.otherStacks,
    },
    ...(stack && { stack }),
    atDefault,
    ignored,
    reference: {
      blocks: new Map(blocks),
      names: new Map(blocks.map((entry) => [entry[0], namesOf(entry)])),
      without: [...(options.dense ?? []), ...Object.keys(further).map(Number)],
    },
  };
}

/** Writes a checkpoint to a folder. */
export async function writeFixture(
  folder: string,
  { config, tensors }: Pick<Fixture, 'config' | 'tensors'>,
): Promise<void> {
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
}
