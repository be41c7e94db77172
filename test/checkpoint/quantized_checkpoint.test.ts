import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/containers/write.js';
import { CheckpointError, type LayerOptions, MoECheckpoint, MoELayer } from '../../src/index.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { float32Tensor, randomValues } from '../support/layers.js';

type Tensors = Record<string, TensorToWrite>;

/** A matrix in a checkpoint's small type: its tensors, and the values they stand for, `[rows, cols]`. */
interface Stored {
  tensors: Tensors;
  values: Float32Array;
}

/** Sign, four bits of exponent, three of mantissa; no infinities. */
function fromFloat8(byte: number): number {
  const exponent = (byte >> 3) & 15;
  const mantissa = byte & 7;
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
  return byte & 0x80 ? -magnitude : magnitude;
}

const fromFloat4 = (nibble: number): number =>
  ([0, 0.5, 1, 1.5, 2, 3, 4, 6][nibble & 7] as number) * (nibble & 8 ? -1 : 1);

function randomBytes(count: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

type ScaleShape = 'blocks' | 'rows' | 'one';

/** fp8 with a float32 scale for each block of 128 x 128, for each row, or for all. */
function float8Matrix(
  name: string,
  rows: number,
  cols: number,
  seed: number,
  shape: ScaleShape,
): Stored {
  // Magnitudes up to 2: exponents 0 to 7.
  const bytes = randomBytes(rows * cols, seed).map((byte) => byte & 0xbf);
  const [blockRows = 1, blockCols = 1] = { blocks: [128, 128], rows: [1, cols], one: [rows, cols] }[
    shape
  ];
  const [down, across] = [Math.ceil(rows / blockRows), Math.ceil(cols / blockCols)];
  const scales = Float32Array.from({ length: down * across }, (_, i) => 0.01 * (1 + (i % 5)));
  const values = Float32Array.from(bytes, (byte, i) => {
    const block = Math.floor(Math.floor(i / cols) / blockRows) * across;
    return fromFloat8(byte) * (scales[block + Math.floor((i % cols) / blockCols)] as number);
  });
  const ending = shape === 'blocks' ? '_scale_inv' : '_scale';
  const scaleShape = { blocks: [down, across], rows: [rows, 1], one: [] }[shape];
  return {
    values,
    tensors: {
      [`${name}.weight`]: { dtype: 'F8_E4M3', shape: [rows, cols], data: bytes },
      [`${name}.weight${ending}`]: { dtype: 'F32', shape: scaleShape, data: scales },
    },
  };
}

function joined(parts: Float32Array[], shape: number[]) {
  return float32Tensor(Float32Array.from(parts.flatMap((part) => [...part])), shape);
}

async function writeFolder(tensors: Tensors, config: object): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

/** The layer of a folder, and one made of the values that its tensors stand for, give the same bits. */
async function expectSameLayer(folder: string, options: Omit<LayerOptions, 'config'>) {
  await using checkpoint = await MoECheckpoint.open(folder);
  expect(checkpoint.weightType).toBe('published');
  const hidden = randomValues(5 * options.hiddenSize, 3);
  for (const weightType of ['float32', 'bfloat16', 'int8', 'int4'] as const) {
    await using loaded = await checkpoint.load(0, { weightType });
    await using created = await MoELayer.create({
      ...options,
      config: checkpoint.config,
      weightType,
    });
    const result = await loaded.forward(hidden, { routing: true });
    expect(result).toEqual(await created.forward(hidden, { routing: true }));
    expect(result.output.some((value) => value !== 0)).toBe(true);
    expect(result.output.every(Number.isFinite)).toBe(true);
  }
  // As it was published, without loss: the bits of float32.
  await using asStored = await checkpoint.load(0);
  expect(asStored.weightType).toBe('published');
  await using widened = await checkpoint.load(0, { weightType: 'float32' });
  expect((await asStored.forward(hidden)).output).toEqual((await widened.forward(hidden)).output);
  expect(asStored.weightBytes).toBeLessThan(0.5 * widened.weightBytes);
}

describe('fp8', () => {
  const [E, H, I] = [3, 136, 150];
  const config = {
    model_type: 'qwen3_moe',
    hidden_size: H,
    intermediate_size: 20,
    moe_intermediate_size: I,
    num_hidden_layers: 1,
    hidden_act: 'silu',
    num_experts: E,
    num_experts_per_tok: 2,
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  };
  const router = Float32Array.from(randomValues(E * H, 5));
  const layer = (shape: ScaleShape) => {
    const experts = Array.from({ length: E }, (_, e) => {
      const name = (projection: string) => `model.layers.0.mlp.experts.${e}.${projection}_proj`;
      return {
        gate: float8Matrix(name('gate'), I, H, 10 + e, shape),
        up: float8Matrix(name('up'), I, H, 20 + e, shape),
        down: float8Matrix(name('down'), H, I, 30 + e, shape),
      };
    });
    const tensors: Tensors = Object.assign(
      { 'model.layers.0.mlp.gate.weight': { dtype: 'F32', shape: [E, H], data: router } },
      ...experts.flatMap((expert) => Object.values(expert).map((matrix) => matrix.tensors)),
    );
    return { experts, tensors };
  };

  test.each<ScaleShape>(['blocks', 'rows', 'one'])('with scales of %s', async (shape) => {
    const { experts, tensors } = layer(shape);
    await expectSameLayer(await writeFolder(tensors, config), {
      hiddenSize: H,
      intermediateSize: I,
      weights: {
        router: float32Tensor(router, [E, H]),
        gate: joined(
          experts.map(({ gate }) => gate.values),
          [E, I, H],
        ),
        up: joined(
          experts.map(({ up }) => up.values),
          [E, I, H],
        ),
        down: joined(
          experts.map(({ down }) => down.values),
          [E, H, I],
        ),
      },
    });
  });

  test('without scales, or with scales of another shape, is refused by name', async () => {
    const { tensors } = layer('blocks');
    const scale = 'model.layers.0.mlp.experts.1.up_proj.weight_scale_inv';
    const { [scale]: _, ...without } = tensors;
    await expect(MoELayer.load(await writeFolder(without, config))).rejects.toThrow(
      new RegExp(`Expected tensor "${scale}" in .*, got none`),
    );
    const wrong = {
      ...tensors,
      [scale]: { dtype: 'F32', shape: [3, 2], data: new Float32Array(6) },
    };
    const loading = MoELayer.load(await writeFolder(wrong, config));
    await expect(loading).rejects.toBeInstanceOf(CheckpointError);
    await expect(loading).rejects.toThrow(/up_proj.weight_scale_inv.*\[2, 2\], got \[3, 2\]/);
  });
});

describe('MXFP4', () => {
  const [E, H, I] = [3, 64, 96];
  const config = {
    model_type: 'gpt_oss',
    hidden_size: H,
    intermediate_size: I,
    num_hidden_layers: 1,
    num_local_experts: E,
    num_experts_per_tok: 2,
    swiglu_limit: 7.0,
  };
  /** `[E, rows, cols]` in blocks of 32 that share an exponent. */
  const stored = (name: string, rows: number, cols: number, seed: number): Stored => {
    const blocks = randomBytes((E * rows * cols) / 2, seed);
    const scales = randomBytes((E * rows * cols) / 32, seed + 1).map((byte) => 120 + (byte % 4));
    const values = Float32Array.from({ length: E * rows * cols }, (_, i) => {
      const byte = blocks[i >> 1] as number;
      return (
        fromFloat4(i % 2 === 0 ? byte & 15 : byte >> 4) * 2 ** ((scales[i >> 5] as number) - 127)
      );
    });
    return {
      values,
      tensors: {
        [`${name}_blocks`]: { dtype: 'U8', shape: [E, rows, cols / 32, 16], data: blocks },
        [`${name}_scales`]: { dtype: 'U8', shape: [E, rows, cols / 32], data: scales },
      },
    };
  };
  const prefix = 'model.layers.0.mlp.';
  const gateUp = stored(`${prefix}experts.gate_up_proj`, 2 * I, H, 1);
  const down = stored(`${prefix}experts.down_proj`, H, I, 3);
  const vectors = {
    router: Float32Array.from(randomValues(E * H, 5)),
    routerBias: Float32Array.from(randomValues(E, 6)),
    gateUpBias: Float32Array.from(randomValues(E * 2 * I, 7)),
    downBias: Float32Array.from(randomValues(E * H, 8)),
  };
  const tensors: Tensors = {
    ...gateUp.tensors,
    ...down.tensors,
    [`${prefix}router.weight`]: { dtype: 'F32', shape: [E, H], data: vectors.router },
    [`${prefix}router.bias`]: { dtype: 'F32', shape: [E], data: vectors.routerBias },
    [`${prefix}experts.gate_up_proj_bias`]: {
      dtype: 'F32',
      shape: [E, 2 * I],
      data: vectors.gateUpBias,
    },
    [`${prefix}experts.down_proj_bias`]: { dtype: 'F32', shape: [E, H], data: vectors.downBias },
  };
  /** Every second row of `width` values: gate rows from 0 on, up rows from 1 on. */
  const everySecond = (values: Float32Array, width: number, first: number) =>
    values.filter((_, i) => Math.floor(i / width) % 2 === first);

  test('is what its blocks and exponents say', async () => {
    await expectSameLayer(await writeFolder(tensors, config), {
      hiddenSize: H,
      intermediateSize: I,
      activation: 'swiglu_oai',
      weights: {
        router: float32Tensor(vectors.router, [E, H]),
        routerBias: float32Tensor(vectors.routerBias, [E]),
        gate: float32Tensor(everySecond(gateUp.values, H, 0), [E, I, H]),
        up: float32Tensor(everySecond(gateUp.values, H, 1), [E, I, H]),
        down: float32Tensor(down.values, [E, H, I]),
        gateBias: float32Tensor(everySecond(vectors.gateUpBias, 1, 0), [E, I]),
        upBias: float32Tensor(everySecond(vectors.gateUpBias, 1, 1), [E, I]),
        downBias: float32Tensor(vectors.downBias, [E, H]),
      },
    });
  });

  test('of another type or shape is refused by name', async () => {
    const scales = `${prefix}experts.down_proj_scales`;
    const load = async (changed: TensorToWrite) =>
      MoELayer.load(await writeFolder({ ...tensors, [scales]: changed }, config));
    const bytes = E * H * 3;
    await expect(
      load({ dtype: 'I8', shape: [E, H, 3], data: new Int8Array(bytes) }),
    ).rejects.toThrow(/down_proj_scales.*type U8, got I8/);
    await expect(
      load({ dtype: 'U8', shape: [E, H + 1, 3], data: new Uint8Array(E * (H + 1) * 3) }),
    ).rejects.toThrow(/down_proj_scales.*shape/);
  });
});
