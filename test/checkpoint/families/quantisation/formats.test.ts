import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type TensorToWrite,
  writeSafetensors,
} from '../../../../src/checkpoint/containers/write.js';
import { MoECheckpoint, MoELayer } from '../../../../src/index.js';
import { fixtures } from '../../../families/fixtures/all.js';
import type { Tensors } from '../../../fixtures/families.js';
import { type QuantisedFormat, quantised, quantisedFormats } from '../../../fixtures/quantised.js';
import { temporaryFolder } from '../../../fixtures/temporary_folder.js';
import { randomValues } from '../../../support/layers.js';

const fixtureOf = (name: string) => {
  const found = fixtures.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no fixture ${name}`);
  return found;
};

/** The matrices of experts, shared ones included. */
const ofExperts = (name: string) =>
  /(experts?\.|shared_mlp\.).*(proj|linear|w\d)\.weight$/.test(name);

async function written(tensors: Tensors, config: object): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

const layersOf = async (folder: string) => {
  await using checkpoint = await MoECheckpoint.open(folder);
  return checkpoint.layers;
};

async function outputOf(folder: string, layer: number) {
  await using loaded = await MoELayer.load(folder, { layer, weightType: 'float32', device: 'cpu' });
  const { output } = await loaded.forward(randomValues(7 * loaded.hiddenSize, 3));
  return { output, diagnostics: loaded.diagnostics };
}

/** As MLX writes it: the description stands under `quantization`, too. */
const configOf = (base: object, { config }: QuantisedFormat) => ({
  ...base,
  ...('quant_method' in config ? {} : { quantization: config }),
  quantization_config: config,
});

describe.each(['qwen2_moe, per expert', 'mixtral, w1, w2, w3'])('%s', (name) => {
  const fixture = fixtureOf(name);
  const count = Object.keys(fixture.tensors).filter(ofExperts).length;

  test.each(quantisedFormats.map((format) => [format.name, format] as const))(
    'in %s is the layer of the values',
    async (_, format) => {
      expect(count).toBeGreaterThan(10);
      const { stored, plain } = quantised(format, fixture.tensors, ofExperts);
      const folder = await written(stored, configOf(fixture.config, format));
      const plainFolder = await written(plain, fixture.config);
      for (const layer of await layersOf(plainFolder)) {
        const { output, diagnostics } = await outputOf(folder, layer);
        expect(output).toEqual((await outputOf(plainFolder, layer)).output);
        expect(output.some((value) => value !== 0) && output.every(Number.isFinite)).toBe(true);
        const scales = diagnostics.filter((each) => /static scales of activations/.test(each));
        expect(scales.length).toBe(
          Object.keys(stored).some((each) => /\.input_\w*scale$/.test(each)) ? 1 : 0,
        );
      }
    },
  );
});

test('gate and up that share a quantised matrix are its halves', async () => {
  const fixture = fixtures.find(({ tensors }) =>
    Object.keys(tensors).some((name) => name.endsWith('shared_mlp.input_linear.weight')),
  );
  if (fixture === undefined) throw new Error('no fixture');
  for (const format of quantisedFormats) {
    const isShared = (name: string) => /shared_mlp\.\w+\.weight$/.test(name);
    const { stored, plain } = quantised(format, fixture.tensors, isShared);
    const folder = await written(stored, configOf(fixture.config, format));
    const plainFolder = await written(plain, fixture.config);
    const [layer = 0] = await layersOf(plainFolder);
    expect((await outputOf(folder, layer)).output).toEqual(
      (await outputOf(plainFolder, layer)).output,
    );
  }
});

test.each<[string, file: string, of: (description: object) => object]>([
  [
    'GPTQ, zeros',
    'quantize_config.json',
    ({ quant_method: _, ...rest }: { quant_method?: string }) => rest,
  ],
  ['AWQ', 'quant_config.json', ({ quant_method: _, ...rest }: { quant_method?: string }) => rest],
  [
    'ModelOpt NVFP4',
    'hf_quant_config.json',
    ({ quant_method: _, ...quantization }: { quant_method?: string }) => ({ quantization }),
  ],
])('%s may be described by %s', async (name, file, of) => {
  const fixture = fixtureOf('mixtral, w1, w2, w3');
  const format = quantisedFormats.find((each) => each.name === name) as QuantisedFormat;
  const { stored, plain } = quantised(format, fixture.tensors, ofExperts);
  const folder = await written(stored, fixture.config);
  await writeFile(join(folder, file), JSON.stringify(of(format.config)));
  expect((await outputOf(folder, 0)).output).toEqual(
    (await outputOf(await written(plain, fixture.config), 0)).output,
  );
});

/** The tensors of each module's copies, by `[E, ...]`. */
function stackedTensors(matrices: readonly Tensors[]): Tensors {
  const [first = {}] = matrices;
  return Object.fromEntries(
    Object.entries(first).map(([ending, { dtype, shape }]) => {
      const bytes = matrices.flatMap(({ [ending]: tensor }) => {
        const { buffer, byteOffset, byteLength } = (tensor as TensorToWrite).data;
        return [...new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)];
      });
      return [ending, { dtype, shape: [matrices.length, ...shape], data: Uint8Array.from(bytes) }];
    }),
  );
}

/** Mixtral as MLX names it. */
function switched(format: QuantisedFormat) {
  const fixture = fixtureOf('mixtral, w1, w2, w3');
  const [stored, plain]: [Tensors, Tensors] = [{}, {}];
  const each = /^(.*block_sparse_moe)\.experts\.(\d+)\.(w\d)\.weight$/;
  const stacks = new Map<string, { stored: Tensors; values: TensorToWrite }[]>();
  for (const [name, tensor] of Object.entries(fixture.tensors)) {
    const [, block, expert, matrix = ''] = each.exec(name) ?? [];
    if (block === undefined) {
      stored[name] = plain[name] = tensor;
      continue;
    }
    const [rows = 0, cols = 0] = tensor.shape;
    const made = format.store(rows, cols, Number(expert) + 7 * matrix.length);
    const module = `${block}.switch_mlp.${{ w1: 'gate', w2: 'down', w3: 'up' }[matrix]}_proj`;
    const values = { dtype: 'F32', shape: tensor.shape, data: made.values };
    plain[name] = values;
    stacks.set(module, [...(stacks.get(module) ?? []), { stored: made.tensors, values }]);
  }
  for (const [module, matrices] of stacks) {
    const tensors = stackedTensors(matrices.map((matrix) => matrix.stored));
    for (const [ending, tensor] of Object.entries(tensors)) stored[module + ending] = tensor;
  }
  return { config: fixture.config, stored, plain };
}

test.each(['MLX of 4 bits', 'MLX of 8 bits'])(
  'experts stacked in %s are the layer of the values',
  async (name) => {
    const format = quantisedFormats.find((each) => each.name === name) as QuantisedFormat;
    const { config, stored, plain } = switched(format);
    const folder = await written(stored, configOf(config, format));
    const plainFolder = await written(plain, config);
    for (const layer of await layersOf(plainFolder))
      expect((await outputOf(folder, layer)).output).toEqual(
        (await outputOf(plainFolder, layer)).output,
      );
  },
);

/** Of each expert's rows, or of its whole matrix. */
test.each(['rows', 'matrices'] as const)(
  'float8 of all experts in one tensor has scales of %s',
  async (of) => {
    const fixture = fixtureOf('qwen2_moe, fused, normalised');
    const [stored, plain]: [Tensors, Tensors] = [{ ...fixture.tensors }, { ...fixture.tensors }];
    const isStack = (name: string) => /experts\.(gate_up|down)_proj$/.test(name);
    const names = Object.keys(stored).filter(isStack);
    expect(names.length).toBeGreaterThan(1);
    for (const name of names) {
      const { shape, data } = stored[name] as TensorToWrite;
      const [experts = 0, rows = 0, cols = 0] = shape;
      const per = of === 'rows' ? cols : rows * cols;
      const scales = Float32Array.from(
        { length: (experts * rows * cols) / per },
        (_, i) => 2 ** -(i % 5),
      );
      // 0x38 to 0x3f: 1 to 1.875.
      const codes = Uint8Array.from(data as Float32Array, (_, i) => 0x38 + ((i * 5) % 8));
      plain[name] = {
        ...{ dtype: 'F32', shape },
        data: Float32Array.from(
          codes,
          (code, i) => (1 + (code & 7) / 8) * (scales[Math.floor(i / per)] as number),
        ),
      };
      stored[name] = { dtype: 'F8_E4M3', shape, data: codes };
      stored[`${name}_scale_inv`] = {
        ...{ dtype: 'F32', data: scales },
        shape: of === 'rows' ? [experts, rows, 1] : [experts, 1, 1],
      };
    }
    const description = { quantization_config: { quant_method: 'fp8', fmt: 'e4m3' } };
    const folder = await written(stored, { ...fixture.config, ...description });
    const plainFolder = await written(plain, fixture.config);
    for (const layer of await layersOf(plainFolder))
      expect((await outputOf(folder, layer)).output).toEqual(
        (await outputOf(plainFolder, layer)).output,
      );
  },
);
