// Layers that hold quantised weights as their files have them.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeSafetensors } from '../../../../src/checkpoint/containers/write.js';
import { MoELayer } from '../../../../src/index.js';
import type { Tensors } from '../../../fixtures/families.js';
import { formatsOf, quantised } from '../../../fixtures/quantised.js';
import { temporaryFolder } from '../../../fixtures/temporary_folder.js';
import { randomValues } from '../../../support/layers.js';

// Neither is a multiple of 32 or of 16.
const [E, H, I] = [3, 72, 104];
const config = {
  ...{ model_type: 'qwen3_moe', hidden_size: H, intermediate_size: 20, moe_intermediate_size: I },
  ...{ num_hidden_layers: 1, hidden_act: 'silu', num_experts: E, num_experts_per_tok: 2 },
  ...{ norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [] },
};
const block = 'model.layers.0.mlp';
const floats = (rows: number, cols: number, seed: number) => ({
  ...{ dtype: 'F32', shape: [rows, cols] },
  data: Float32Array.from(randomValues(rows * cols, seed)),
});
const plain: Tensors = { [`${block}.gate.weight`]: floats(E, H, 5) };
for (let e = 0; e < E; e++) {
  plain[`${block}.experts.${e}.gate_proj.weight`] = floats(I, H, 10 + e);
  plain[`${block}.experts.${e}.up_proj.weight`] = floats(I, H, 20 + e);
  plain[`${block}.experts.${e}.down_proj.weight`] = floats(H, I, 30 + e);
}

/** Those that no group of inputs has a factor of, as the weights stand, and blocks of other sizes. */
const others = /order of inputs|compressed-tensors nvfp4|by block/;

test.each(
  formatsOf(32)
    .filter(({ name }) => !others.test(name))
    .map((format) => [format.name, format] as const),
)('%s', async (_, format) => {
  const { stored } = quantised(format, plain, (name) => name.includes('experts'));
  const folder = await temporaryFolder();
  const key = 'quant_method' in format.config ? 'quantization_config' : 'quantization';
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, [key]: format.config }));
  await writeSafetensors(join(folder, 'model.safetensors'), stored);
  const hidden = randomValues(9 * H, 3);
  await using published = await MoELayer.load(folder, { layer: 0, device: 'cpu' });
  await using widened = await MoELayer.load(folder, {
    layer: 0,
    device: 'cpu',
    weightType: 'float32',
  });
  expect(published.weightType).toBe('published');
  const [actual, expected] = [
    (await published.forward(hidden)).output,
    (await widened.forward(hidden)).output,
  ];
  const most = Math.max(...expected.map(Math.abs));
  expect(most).toBeGreaterThan(0);
  for (const [i, value] of expected.entries())
    expect(Math.abs((actual[i] as number) - value)).toBeLessThan(1e-5 * most);
});
