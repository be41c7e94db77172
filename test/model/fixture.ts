// A small whole model as its family is published: the Mixture-of-Experts blocks of a fixture of test/families, with a
// decoder around them, and what that computes.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors } from '../../src/checkpoint/containers/write.js';
import type { ModelLoadOptions } from '../../src/model/options.js';
import type { Config } from '../families/fixture.js';
import { fixtures } from '../families/fixtures/all.js';
import { H, V, Values } from '../families/random.js';
import { matrix, oneExpert, projections, type Tensors, vector } from '../families/spelling.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import type {
  Decoder,
  DecoderLayer,
  GroupedAttention,
  LatentAttention,
} from '../reference/decoder.js';

export interface ModelFixture {
  name: string;
  config: Config;
  tensors: Tensors;
  decoder: Decoder;
  options: ModelLoadOptions;
  /** Keys of the config that have the value which the model's class takes without them. */
  atDefault: readonly string[];
  /** Keys without an effect here. */
  ignored: readonly string[];
}

type Grouped = Omit<
  GroupedAttention,
  | 'kind'
  | 'query'
  | 'key'
  | 'value'
  | 'output'
  | 'queryBias'
  | 'keyBias'
  | 'valueBias'
  | 'outputBias'
  | 'queryNorm'
  | 'keyNorm'
  | 'sinks'
> & { bias?: boolean; outputBias?: boolean; norm?: 'each' | 'whole'; sinks?: boolean };
type Latent = Omit<
  LatentAttention,
  | 'kind'
  | 'query'
  | 'queryDown'
  | 'queryUp'
  | 'queryDownBias'
  | 'queryDownNorm'
  | 'latentDown'
  | 'latentDownBias'
  | 'latentNorm'
  | 'latentUp'
  | 'output'
  | 'outputBias'
> & { bias?: boolean; queryLatent?: number };

/** What a layer's attention is, without its weights. */
export type AttentionShape = ({ kind: 'grouped' } & Grouped) | ({ kind: 'latent' } & Latent);

export interface ModelOptions {
  /** Of the fixture of test/families. */
  block: string;
  /** What else is said of it. */
  about: string;
  /** Keys of the config; undefined leaves one out. */
  keys: Config;
  attention: (layer: number) => AttentionShape;
  tied?: boolean;
  decoder?: Pick<Decoder, 'embeddingFactor' | 'residualFactor' | 'logitsDivisor'>;
  options?: ModelLoadOptions;
  atDefault?: readonly string[];
  ignored?: readonly string[];
  /** Tensors that are to be passed over. */
  more?: Tensors;
}

/** Large enough to show. */
const epsilon = 1e-3;
const denseWidth = 20;
export const positions = 96;

export function modelFixture(options: ModelOptions): ModelFixture {
  const base = fixtures.find(({ name }) => name === options.block);
  if (base === undefined) throw new Error(`no fixture ${options.block}`);
  const values = new Values(options.block.length + 31 * options.about.length);
  const { blocks, without, names } = base.reference;
  const count = 3;
  const layers = Array.from({ length: count }, (_, layer): DecoderLayer => {
    const block = blocks.get(layer);
    return {
      attentionNorm: values.vector(H, 0.5, 1),
      attention: attentionOf(values, options.attention(layer)),
      feedForwardNorm: values.vector(H, 0.5, 1),
      feedForward: block ? { block } : { dense: values.expert(denseWidth, H, {}) },
    };
  });
  const embedding = values.matrix(V, H, 1.5);
  const decoder: Decoder = {
    ...{ embedding, layers, norm: values.vector(H, 0.5, 1), epsilon, ...options.decoder },
    head: options.tied ? embedding : values.matrix(V, H),
  };
  const further = without.filter((layer) => layer >= count);
  const isKept = (name: string) =>
    [...names.values()].some((own) => own.includes(name)) ||
    further.some((layer) => name.startsWith(`model.layers.${layer}.`));
  const keys = { max_position_embeddings: positions, rms_norm_eps: epsilon, ...options.keys };
  const config = { ...base.config, tie_word_embeddings: options.tied ?? false, ...keys };
  return {
    name: `${base.modelType}, ${options.about}`,
    config: Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)),
    tensors: {
      ...Object.fromEntries(Object.entries(base.tensors).filter(([name]) => isKept(name))),
      ...decoderTensors(decoder, options.tied ?? false),
      ...options.more,
    },
    decoder,
    options: { ...float32, ...options.options },
    atDefault: [...base.atDefault, ...(options.atDefault ?? [])],
    ignored: [...base.ignored, ...(options.ignored ?? [])],
  };
}

const float32 = { weightType: 'float32', kvType: 'float32', threads: 1, device: 'cpu' } as const;

/** Random weights for a shape. */
export function attentionOf(
  values: Values,
  shape: AttentionShape,
  hidden = H,
): DecoderLayer['attention'] {
  return shape.kind === 'grouped'
    ? groupedOf(values, shape, hidden)
    : latentOf(values, shape, hidden);
}

function groupedOf(
  values: Values,
  { bias, outputBias, norm, sinks, ...shape }: { kind: 'grouped' } & Grouped,
  hidden: number,
) {
  const [queries, keys] = [shape.heads * shape.size, shape.kvHeads * shape.size];
  const widths = norm === 'whole' ? [queries, keys] : [shape.size, shape.size];
  return {
    ...shape,
    query: values.matrix(queries, hidden),
    key: values.matrix(keys, hidden),
    value: values.matrix(keys, hidden),
    output: values.matrix(hidden, queries),
    ...(bias && {
      queryBias: values.vector(queries, 0.5),
      keyBias: values.vector(keys, 0.5),
      valueBias: values.vector(keys, 0.5),
    }),
    ...(outputBias && { outputBias: values.vector(hidden, 0.5) }),
    ...(norm && {
      queryNorm: values.vector(widths[0] as number, 0.5, 1),
      keyNorm: values.vector(widths[1] as number, 0.5, 1),
    }),
    ...(sinks && { sinks: values.vector(shape.heads, 1) }),
  };
}

function latentOf(
  values: Values,
  { bias, queryLatent, ...shape }: { kind: 'latent' } & Latent,
  hidden: number,
) {
  const { heads, nope, rotated, valueSize, latent } = shape;
  const queries = heads * (nope + rotated);
  return {
    ...shape,
    ...(queryLatent === undefined
      ? { query: values.matrix(queries, hidden) }
      : {
          queryDown: values.matrix(queryLatent, hidden),
          ...(bias && { queryDownBias: values.vector(queryLatent, 0.5) }),
          queryDownNorm: values.vector(queryLatent, 0.5, 1),
          queryUp: values.matrix(queries, queryLatent),
        }),
    latentDown: values.matrix(latent + rotated, hidden),
    ...(bias && { latentDownBias: values.vector(latent + rotated, 0.5) }),
    latentNorm: values.vector(latent, 0.5, 1),
    latentUp: values.matrix(heads * (nope + valueSize), latent),
    output: values.matrix(hidden, heads * valueSize),
    ...(bias && { outputBias: values.vector(hidden, 0.5) }),
  };
}

/** Names of a layer's attention by what it has, as Transformers writes them. */
const attentionNames = {
  query: 'q_proj.weight',
  key: 'k_proj.weight',
  value: 'v_proj.weight',
  queryBias: 'q_proj.bias',
  keyBias: 'k_proj.bias',
  valueBias: 'v_proj.bias',
  queryNorm: 'q_norm.weight',
  keyNorm: 'k_norm.weight',
  sinks: 'sinks',
  queryDown: 'q_a_proj.weight',
  queryDownBias: 'q_a_proj.bias',
  queryDownNorm: 'q_a_layernorm.weight',
  queryUp: 'q_b_proj.weight',
  latentDown: 'kv_a_proj_with_mqa.weight',
  latentDownBias: 'kv_a_proj_with_mqa.bias',
  latentNorm: 'kv_a_layernorm.weight',
  latentUp: 'kv_b_proj.weight',
  output: 'o_proj.weight',
  outputBias: 'o_proj.bias',
} as const;

/** Everything but Mixture-of-Experts blocks. */
export function decoderTensors({ embedding, layers, norm, head }: Decoder, tied: boolean): Tensors {
  const ofLayers = layers.map(
    ({ attentionNorm, attention, feedForwardNorm, feedForward }, layer) => {
      const prefix = `model.layers.${layer}.`;
      const own = Object.entries(attentionNames).flatMap(([part, name]) => {
        const weights = attention[part as keyof typeof attention] as unknown;
        if (weights === undefined) return [];
        const tensor = Array.isArray((weights as unknown[])[0])
          ? matrix(weights as number[][])
          : vector(weights as number[]);
        return [[`${prefix}self_attn.${name}`, tensor]];
      });
      return {
        ...Object.fromEntries(own),
        [`${prefix}input_layernorm.weight`]: vector(attentionNorm),
        [`${prefix}post_attention_layernorm.weight`]: vector(feedForwardNorm),
        ...('dense' in feedForward && oneExpert(`${prefix}mlp.`, projections, feedForward.dense)),
      };
    },
  );
  return {
    'model.embed_tokens.weight': matrix(embedding),
    ...Object.assign({}, ...ofLayers),
    'model.norm.weight': vector(norm),
    ...(!tied && { 'lm_head.weight': matrix(head) }),
  };
}

/** Writes a model to a new folder. */
export async function writtenModel({
  config,
  tensors,
}: Pick<ModelFixture, 'config' | 'tensors'>): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}
