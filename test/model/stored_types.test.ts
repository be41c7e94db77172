// Every type that weights are stored in: whole models whose values are exact in it.
import { describe, expect, test } from 'vitest';
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import { Values } from '../families/random.js';
import type { Block } from '../families/reference/block.js';
import { openSwiglu } from '../families/reference/experts.js';
import type { Matrix } from '../families/reference/numbers.js';
import { fusedBiases, joined, logitBias, router, type Tensors } from '../families/spelling.js';
import { type Decoder, decoderLogits } from '../reference/decoder.js';
import { plainRope } from '../reference/rope.js';
import { floatOf, toBits } from '../support/floats.js';
import { attentionOf, decoderTensors, modelFixture, writtenModel } from './fixture.js';
import { modelFixtures } from './fixtures.js';
import { packedExperts, roundedToMxfp4 } from './mxfp4.js';
import { logitsOf, textOf, withModel, worstError } from './running.js';

const tokens = textOf(40);
const options = { kvType: 'float32', threads: 1, device: 'cpu' } as const;

async function expectLogits(
  fixture: { config: Record<string, unknown>; tensors: Tensors; decoder: Decoder },
  { tolerance = 1e-5, notes = [] as readonly string[] } = {},
): Promise<void> {
  const folder = await writtenModel(fixture);
  await withModel(folder, options, async (model) => {
    expect(model.notes).toEqual(notes);
    const error = worstError(await logitsOf(model, tokens), decoderLogits(fixture.decoder, tokens));
    expect(error).toBeLessThan(tolerance);
  });
}

/** What is in it with every number of its matrices and vectors changed; scalars and rotations stay. */
function mapped<T>(part: T, change: (value: number) => number): T {
  if (Array.isArray(part))
    return part.map((each) =>
      typeof each === 'number' ? change(each) : mapped(each, change),
    ) as T;
  if (typeof part !== 'object' || part === null) return part;
  return Object.fromEntries(
    Object.entries(part).map(([name, inner]) => [
      name,
      name === 'rope' ? inner : mapped(inner, change),
    ]),
  ) as T;
}

const fixtureOf = (name: string) => {
  const found = modelFixtures.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return found;
};

describe.each(['bfloat16', 'float16'] as const)('%s', (dtype) => {
  const rounded = (value: number) => floatOf(dtype, toBits(dtype, value));
  const stored = ({ shape, data }: TensorToWrite): TensorToWrite => ({
    dtype: dtype === 'bfloat16' ? 'BF16' : 'F16',
    shape,
    data: Uint16Array.from(data as Float32Array, (value) => toBits(dtype, value)),
  });

  test.each([
    'qwen3_moe, windows, biases, a tied head',
    'deepseek_v3, halves, biases, yarn by two scales',
    'gpt_oss, sinks, windows, yarn by default',
  ])('%s', async (name) => {
    const { config, tensors, decoder } = fixtureOf(name);
    await expectLogits({
      config,
      tensors: Object.fromEntries(
        Object.entries(tensors).map(([key, each]) => [key, stored(each)]),
      ),
      decoder: mapped(decoder, rounded),
    });
  });
});

/** Sign, four bits of exponent, three of mantissa. */
const float8 = new Map(
  Array.from({ length: 0x7f }, (_, byte) => {
    const [exponent, mantissa] = [byte >> 3, byte & 7];
    const value = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
    return [value, byte] as const;
  }),
);

describe('float8 with scales of blocks', () => {
  const block = 128;
  /** Blocks of rows have scales of their own. */
  const scaleOf = (row: number) => (Math.floor(row / block) % 2 === 0 ? 0.5 : 0.125);
  /** Multiples of an eighth up to 2, times the scale. */
  const codeOf = (value: number, row: number) =>
    Math.max(-16, Math.min(16, Math.round((value / scaleOf(row)) * 8))) / 8;
  const isProjection = (name: string) => /(proj|with_mqa)\.weight$/.test(name);

  const stored = (name: string, tensor: TensorToWrite): Tensors => {
    const [rows = 0, columns = 0] = tensor.shape;
    const codes = Array.from(tensor.data as Float32Array, (value, i) =>
      codeOf(value, Math.floor(i / columns)),
    );
    const blocks = Math.ceil(rows / block);
    return {
      [name]: {
        dtype: 'F8_E4M3',
        shape: tensor.shape,
        data: Uint8Array.from(
          codes,
          (code) => (float8.get(Math.abs(code)) as number) | (code < 0 ? 0x80 : 0),
        ),
      },
      [`${name}_scale_inv`]: {
        ...{ dtype: 'F32', shape: [blocks, 1] },
        data: Float32Array.from({ length: blocks }, (_, each) => scaleOf(each * block)),
      },
    };
  };
  const projections = /^(query(Down|Up)?|key|value|output|latent(Down|Up)|gate|up|down)$/;
  /** The matrices that are stored so, as they are then. */
  function rounded<T>(part: T): T {
    if (Array.isArray(part)) return part.map(rounded) as T;
    if (typeof part !== 'object' || part === null) return part;
    return Object.fromEntries(
      Object.entries(part).map(([name, inner]) => [
        name,
        projections.test(name) && Array.isArray((inner as Matrix)[0])
          ? (inner as Matrix).map((row, r) => row.map((value) => codeOf(value, r) * scaleOf(r)))
          : rounded(inner),
      ]),
    ) as T;
  }

  // Rows of the latent rows' matrix are cut inside of blocks: a head has 45 of them.
  test.each([undefined, 8])(
    'latent attention, %s numbers of queries’ latent rows',
    async (queryLatent) => {
      const heads = 8;
      const { config, tensors, decoder } = modelFixture({
        block: 'deepseek_v3, per expert, groups, a layer for further tokens',
        about: 'float8',
        keys: {
          ...{ num_attention_heads: heads, num_key_value_heads: heads, rope_theta: 500 },
          ...{ kv_lora_rank: 7, q_lora_rank: queryLatent ?? null, v_head_dim: 25 },
          ...{ qk_nope_head_dim: 20, qk_rope_head_dim: 4 },
          quantization_config: { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: [128, 128] },
        },
        attention: () => ({
          ...{ kind: 'latent', heads, nope: 20, rotated: 4, valueSize: 25, latent: 7 },
          ...{ interleaved: true, scale: 24 ** -0.5, rope: plainRope(4, 500) },
          ...(queryLatent !== undefined && { queryLatent }),
        }),
      });
      const own = Object.entries(tensors).filter(([name]) => !name.startsWith('model.layers.3.'));
      await expectLogits({
        config,
        tensors: Object.assign(
          {},
          ...own.map(([name, tensor]) =>
            isProjection(name) ? stored(name, tensor) : { [name]: tensor },
          ),
        ),
        decoder: rounded(decoder),
      });
    },
  );
});

describe('MXFP4 experts', () => {
  const [H, I, E, V] = [64, 32, 4, 9];

  test('gpt_oss', async () => {
    const values = new Values(5);
    const blockOf = (): Block => ({
      router: {
        ...{ kind: 'softmaxOfChosen', K: 2 },
        weight: values.matrix(E, H, 0.3),
        logitBias: values.vector(E, 0.5),
      },
      experts: Array.from({ length: E }, () => {
        const expert = values.expert(I, H, { biased: true });
        const { gate = [], up, down } = expert;
        return { ...expert, ...mapped({ gate, up, down }, roundedToMxfp4) };
      }),
      activation: openSwiglu(1.702, 7),
    });
    const decoder: Decoder = {
      embedding: values.matrix(V, H, 1.5),
      layers: [0, 1].map(() => ({
        attentionNorm: values.vector(H, 0.5, 1),
        attention: attentionOf(
          values,
          {
            ...{ kind: 'grouped', heads: 2, kvHeads: 1, size: 32, scale: 32 ** -0.5 },
            ...{ bias: true, outputBias: true, sinks: true, rope: plainRope(32, 500) },
          },
          H,
        ),
        feedForwardNorm: values.vector(H, 0.5, 1),
        feedForward: { block: blockOf() },
      })),
      ...{ norm: values.vector(H, 0.5, 1), head: values.matrix(V, H), epsilon: 1e-5 },
    };
    const spelled = joined(
      router('mlp.router.weight'),
      logitBias('mlp.router.bias'),
      fusedBiases('mlp.experts.gate_up_proj_bias', 'mlp.experts.down_proj_bias', true),
      packedExperts,
    );
    const blocks = decoder.layers.flatMap(({ feedForward }, layer) =>
      'block' in feedForward
        ? Object.entries(spelled(feedForward.block, layer)).map(([name, tensor]) => [
            `model.layers.${layer}.${name}`,
            tensor,
          ])
        : [],
    );
    await expectLogits({
      config: {
        ...{ model_type: 'gpt_oss', hidden_size: H, num_hidden_layers: 2, vocab_size: V },
        ...{ num_attention_heads: 2, num_key_value_heads: 1, head_dim: 32, rms_norm_eps: 1e-5 },
        ...{ intermediate_size: I, num_local_experts: E, num_experts_per_tok: 2 },
        ...{ max_position_embeddings: 96, rope_theta: 500, sliding_window: 9, swiglu_limit: 7 },
        ...{ rope_parameters: { rope_type: 'default' }, hidden_act: 'silu' },
        layer_types: ['full_attention', 'full_attention'],
        quantization_config: { quant_method: 'mxfp4' },
      },
      tensors: { ...decoderTensors(decoder, false), ...Object.fromEntries(blocks) },
      decoder,
    });
  });
});
