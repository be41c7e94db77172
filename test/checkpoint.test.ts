import { copyFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  CheckpointError,
  ClosedError,
  ConfigError,
  type LayerOptions,
  MoECheckpoint,
  MoELayer,
  type Tensor,
} from '../src/index.js';
import type { Dense, DenseExpert, DenseLayer } from './fixtures/dense_layer.js';
import { type ModelFixture, modelFixtures } from './fixtures/families.js';
import { temporaryFolder } from './fixtures/temporary_folder.js';
import { writeModel } from './fixtures/write_model.js';
import { layerReference, relativeError } from './reference/layer.js';
import { float32Tensor, randomValues } from './support/layers.js';

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
    } as LayerOptions['weights'],
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
