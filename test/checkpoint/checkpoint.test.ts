import { execFileSync } from 'node:child_process';
import { copyFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import {
  CheckpointError,
  ClosedError,
  ConfigError,
  type LayerOptions,
  MoECheckpoint,
  MoELayer,
  type Tensor,
} from '../../src/index.js';
import type { Dense, DenseExpert, DenseLayer } from '../fixtures/dense_layer.js';
import { type ModelFixture, modelFixtures } from '../fixtures/families.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { writeModel } from '../fixtures/write_model.js';
import { layerReference, relativeError } from '../reference/layer.js';
import { float32Tensor, randomValues } from '../support/layers.js';

const tiny = 'test/data/tiny-mixtral';

/** Matrices of all experts one after another, or vectors. */
function joined(parts: (Dense | Float32Array | undefined)[], shape: number[]): Tensor | undefined {
  if (parts[0] === undefined) return undefined;
  const values = parts.flatMap((part) => [
    ...(part instanceof Float32Array ? part : (part?.values ?? [])),
  ]);
  return float32Tensor(Float32Array.from(values), shape);
}

/** The dense layer behind a checkpoint as options of `MoELayer.create`. */
function optionsOf(
  model: ModelFixture,
  layer: DenseLayer,
  config: LayerOptions['config'],
): LayerOptions {
  const { E, H, I, S } = model.sizes;
  const all = (name: keyof DenseExpert, shape: number[]) => {
    const tensor = joined(
      layer.experts.map((expert) => expert[name]),
      shape,
    );
    return tensor && { [name]: tensor };
  };
  const one = (dense: Dense | undefined, name: string) =>
    dense && { [name]: float32Tensor(dense.values, [dense.rows, dense.cols]) };
  return {
    config,
    hiddenSize: H,
    intermediateSize: I,
    activation: model.activation,
    weights: {
      ...one(layer.router, 'router'),
      ...(layer.routerBias && { routerBias: float32Tensor(layer.routerBias, [E]) }),
      ...(layer.routerCorrectionBias && {
        routerCorrectionBias: float32Tensor(layer.routerCorrectionBias, [E]),
      }),
      ...all('gate', [E, I, H]),
      ...all('up', [E, I, H]),
      ...all('down', [E, H, I]),
      ...all('gateBias', [E, I]),
      ...all('upBias', [E, I]),
      ...all('downBias', [E, H]),
      ...(S > 0 && {
        shared: {
          ...one(layer.shared?.gate, 'gate'),
          ...one(layer.shared?.up, 'up'),
          ...one(layer.shared?.down, 'down'),
          ...one(layer.sharedRouter, 'router'),
        },
      }),
    } as unknown as LayerOptions['weights'],
  };
}

describe.each(modelFixtures.map((model) => [model.name, model] as const))('%s', (_, model) => {
  test.each([false, true])(
    'every layer computes what its matrices say (sharded: %s)',
    async (sharded) => {
      const { folder, layers } = await writeModel(model, { sharded });
      await using checkpoint = await MoECheckpoint.open(folder);
      expect(checkpoint.layers).toEqual([...model.layers]);
      expect(checkpoint).toMatchObject({
        hiddenSize: model.sizes.H,
        intermediateSize: model.sizes.I,
        activation: model.activation,
      });
      const hidden = randomValues(6 * model.sizes.H, 11);
      for (const [number, dense] of layers) {
        await using loaded = await checkpoint.load(number, { weightType: 'float32' });
        const options = optionsOf(model, dense, checkpoint.config);
        await using created = await MoELayer.create(options);
        const result = await loaded.forward(hidden, { routing: true });
        expect(result).toEqual(await created.forward(hidden, { routing: true }));
        if (!model.parts.correctionBias) {
          const { output } = layerReference(checkpoint.config, options, hidden);
          expect(relativeError(result.output, output.flat()) <= 1e-5).toBe(true);
        }
      }
    },
  );
});

describe('loading', () => {
  test('needs the number of a layer where there are several, and names them', async () => {
    await expect(MoELayer.load(tiny)).rejects.toThrow(
      /one of the MoE layers 0, 1, 2, 3, got `undefined`/,
    );
    await expect(MoELayer.load(tiny, { layer: 7 })).rejects.toBeInstanceOf(ConfigError);
    await expect(MoELayer.load(tiny, { lair: 1 } as never)).rejects.toThrow(/did you mean `layer`/);
  });

  test('reports progress to the end and keeps working after the checkpoint is closed', async () => {
    const seen: number[] = [];
    const onProgress = (done: number, total: number) => {
      expect(total).toBe(8);
      seen.push(done);
    };
    await using layer = await MoELayer.load(tiny, { layer: 2, onProgress });
    expect(seen.at(-1)).toBe(8);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect((await layer.forward(randomValues(128, 1))).output).toHaveLength(128);
  });

  test('what the progress callback throws is the outcome', async () => {
    const onProgress = () => {
      throw new Error('enough');
    };
    await expect(MoELayer.load(tiny, { layer: 0, onProgress })).rejects.toThrow('enough');
  });

  test('a config may change how a layer routes, not what it is', async () => {
    const config = { routingPolicy: 'TopkRouterV1', capacityFactor: 1 } as const;
    await using layer = await MoELayer.load(tiny, { layer: 0, config });
    expect((await layer.forward(randomValues(64 * 128, 1))).capacity).toBe(16);
    await expect(MoELayer.load(tiny, { layer: 0, config: { expertNum: 9 } })).rejects.toThrow(
      /checkpoint's 8/,
    );
    await expect(MoELayer.load(tiny, { layer: 0, config: { sharedExpertNum: 1 } })).rejects.toThrow(
      /checkpoint's 0/,
    );
  });

  test('each layer is held in the type it is stored in, as published where there are several', async () => {
    const model = modelFixtures[0] as ModelFixture;
    let encoded = 0;
    const encode: ModelFixture['encode'] = (layer) => {
      if (encoded++ === 0) return model.encode(layer, 'bfloat16');
      const name = 'block_sparse_moe.experts.2.w3.weight';
      const wide = model.encode(layer, 'float32')[name] as TensorToWrite;
      return { ...model.encode(layer, 'float16'), [name]: wide };
    };
    const { folder } = await writeModel({ ...model, encode });
    await using checkpoint = await MoECheckpoint.open(folder);
    await using first = await checkpoint.load(0, { device: 'cpu' });
    await using second = await checkpoint.load(1, { device: 'cpu' });
    expect([checkpoint, first, second].map(({ weightType }) => weightType)).toEqual([
      'bfloat16',
      'bfloat16',
      'published',
    ]);
    await expect(checkpoint.load(0, { layer: 1 })).rejects.toThrow(/`layer` to be given once/);
  });

  test('a closed checkpoint loads nothing', async () => {
    const checkpoint = await MoECheckpoint.open(tiny);
    await checkpoint.close();
    await expect(checkpoint.load(0)).rejects.toBeInstanceOf(ClosedError);
  });

  test('a file without config.json needs the number of choices', async () => {
    const file = join(await temporaryFolder(), 'model.safetensors');
    await copyFile(`${tiny}/model.safetensors`, file);
    await expect(MoELayer.load(file, { layer: 1 })).rejects.toThrow(/numExpertsChosen/);
    const config = {
      numExpertsChosen: 2,
      routingPolicy: 'TopkRouterV2',
      capacityFactor: -1,
    } as const;
    await using bare = await MoELayer.load(file, { layer: 1, config });
    await using whole = await MoELayer.load(tiny, { layer: 1 });
    const hidden = randomValues(5 * 128, 1);
    expect((await bare.forward(hidden)).output).toEqual((await whole.forward(hidden)).output);
  });
});

describe('damage', () => {
  const model = modelFixtures[0] as ModelFixture;

  test('a missing shard is named, and the other layers load', async () => {
    const { folder } = await writeModel(model, { sharded: true });
    await rm(join(folder, 'model-00002-of-00002.safetensors'));
    await using checkpoint = await MoECheckpoint.open(folder);
    await using layer = await checkpoint.load(0);
    expect(layer.hiddenSize).toBe(model.sizes.H);
    await expect(checkpoint.load(1)).rejects.toThrow(
      /model-00002-of-00002\.safetensors.*no such file/,
    );
  });

  test('a file cut short after it was opened is an error, not a crash', async () => {
    const { folder } = await writeModel(model);
    await using checkpoint = await MoECheckpoint.open(folder);
    await truncate(join(folder, 'model.safetensors'), 600);
    const failure = await checkpoint.load(0).catch((error) => error);
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toContain('model.safetensors');
  });

  test('a file that another one replaced after it was opened is refused, again and again', async () => {
    const { folder } = await writeModel(model);
    const other = await writeModel(model); // as long, with the same contents
    await using checkpoint = await MoECheckpoint.open(folder);
    await rename(join(other.folder, 'model.safetensors'), join(folder, 'model.safetensors'));
    for (let attempt = 0; attempt < 2; attempt++) {
      const failure = await checkpoint.load(0).catch((error) => error);
      expect(failure).toBeInstanceOf(CheckpointError);
      expect(failure.message).toMatch(/model\.safetensors to be as it was when it was opened/);
    }
  });

  test('a named pipe in place of a file is an error, not a wait without end', async () => {
    const { folder } = await writeModel(model);
    await using checkpoint = await MoECheckpoint.open(folder);
    await rm(join(folder, 'model.safetensors'));
    execFileSync('mkfifo', [join(folder, 'model.safetensors')]);
    await expect(checkpoint.load(0)).rejects.toThrow(/not a regular file/);
  });

  test('a file cut short while its load waits behind a long call is an error, not a crash', async () => {
    const { folder } = await writeModel(model);
    const H = 512;
    const weights = {
      up: float32Tensor(randomValues(H * H, 1), [1, H, H]),
      down: float32Tensor(randomValues(H * H, 2), [1, H, H]),
    };
    await using busy = await MoELayer.create({
      config: { expertNum: 1 },
      activation: 'relu',
      hiddenSize: H,
      intermediateSize: H,
      weights,
      threads: 1,
    });
    await using checkpoint = await MoECheckpoint.open(folder);
    const long = busy.forward(new Float32Array(20_000 * H));
    const load = checkpoint.load(0).catch((error) => error);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await truncate(join(folder, 'model.safetensors'), 600);
    const failure = await load;
    await long;
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toMatch(/model\.safetensors.*has 600 now/);
  });

  test('a config.json of a model whose experts are stored otherwise is refused by name', async () => {
    const gptOss = modelFixtures.find(({ name }) => name === 'gpt_oss') as ModelFixture;
    const { folder } = await writeModel(model);
    await writeFile(join(folder, 'config.json'), JSON.stringify(gptOss.config));
    await expect(MoECheckpoint.open(folder)).rejects.toThrow(
      /config\.json: Expected `model_type` .* \(mixtral, .*\), got `gpt_oss`/,
    );
  });

  test('a tensor that the config asks for is named where it is missing', async () => {
    for (const [name, missing] of [
      ['deepseek_v3', 'mlp.gate.e_score_correction_bias'],
      ['qwen2_moe', 'mlp.shared_expert_gate.weight'],
      ['qwen2_moe', 'mlp.shared_expert.up_proj.weight'],
    ] as const) {
      const model = modelFixtures.find((fixture) => fixture.name === name) as ModelFixture;
      const encode: ModelFixture['encode'] = (layer, dtype) => {
        const { [missing]: _, ...rest } = model.encode(layer, dtype);
        return rest;
      };
      const { folder } = await writeModel({ ...model, encode });
      const failure = await MoELayer.load(folder, { layer: 1 }).catch((error) => error);
      expect(failure).toBeInstanceOf(CheckpointError);
      expect(failure.message).toContain(missing);
    }
  });

  test('a config that does not fit the tensors names tensor, file and both shapes', async () => {
    const { folder } = await writeModel(model);
    await writeFile(
      join(folder, 'config.json'),
      JSON.stringify({ ...model.config, intermediate_size: 7 }),
    );
    await expect(MoELayer.load(folder, { layer: 0 })).rejects.toThrow(
      /experts\.0\.w1\.weight.*model\.safetensors.*shape \[7, 8\], got \[6, 8\]/,
    );
  });

  test.each([
    ['no JSON', '{'],
    ['no object', '[1]'],
    ['an unknown model', '{"model_type":"tea"}'],
  ])('a config.json with %s is refused', async (_, text) => {
    const { folder } = await writeModel(model);
    await writeFile(join(folder, 'config.json'), text);
    const failure = await MoECheckpoint.open(folder).catch((error) => error);
    expect([CheckpointError, ConfigError].some((Class) => failure instanceof Class)).toBe(true);
  });
});
