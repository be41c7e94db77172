// Layers that choose their experts by token ids, on the command line.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SafetensorsFile } from '../../src/checkpoint/containers/file.js';
import { writeSafetensors } from '../../src/checkpoint/containers/write.js';
import { type Fixture, writeFixture } from '../families/fixture.js';
import { fixtures } from '../families/fixtures/all.js';
import { batchOf } from '../families/loading.js';
import { type Block, blockOutput } from '../families/reference/block.js';
import { route } from '../families/reference/routers.js';
import { matrix } from '../families/spelling.js';
import { nodeMoe, nodeMoeJson } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { relativeError } from '../reference/layer.js';

const fixture = fixtures.find(({ modelType }) => modelType === 'deepseek_v4') as Fixture;
const { rows, tokens } = batchOf(7, 12);
const layers = [0, 2]; // by token id, and by score

/** A checkpoint, and a recording with ids of this type under this name. */
async function recorded(name: string, dtype: 'I32' | 'I64', ids: readonly number[] = tokens) {
  const folder = await temporaryFolder();
  await writeFixture(folder, fixture);
  const input = join(folder, 'input.safetensors');
  const data = dtype === 'I32' ? Int32Array.from(ids) : BigInt64Array.from(ids.map(BigInt));
  await writeSafetensors(input, {
    ...Object.fromEntries(layers.map((layer) => [`layers.${layer}.input`, matrix(rows)])),
    [name]: { dtype, shape: [ids.length], data },
  });
  const common = [folder, '--input', input, '--layer', layers.join(',')];
  return { folder, common };
}

test.each<[name: string, dtype: 'I32' | 'I64', flags: string[]]>([
  ['token_ids', 'I64', []],
  ['layers.0.ids', 'I32', ['--token-ids', 'layers.{layer}.ids']],
])('run takes %s of type %s', async (name, dtype, flags) => {
  const { folder, common } = await recorded(name, dtype);
  const output = join(folder, 'output.safetensors');
  for (const [range, begin, end] of [['0:', 0, 12] as const, ['3:9', 3, 9] as const]) {
    await nodeMoeJson(['run', ...common, '--output', output, '--tokens', range, ...flags]);
    const written = await SafetensorsFile.open(output);
    for (const layer of layers) {
      const block = fixture.reference.blocks.get(layer) as Block;
      const expected = blockOutput(block, rows.slice(begin, end), tokens.slice(begin, end)).flat();
      const { data } = await written.readTensor(`layers.${layer}.output`);
      expect(relativeError(data as Float32Array, expected)).toBeLessThan(1e-5);
    }
  }
});

test('report counts the experts that ids choose', async () => {
  const { folder, common } = await recorded('token_ids', 'I64');
  const { layers: counted } = await nodeMoeJson<{ layers: { expertLoad: number[] }[] }>([
    ...['report', ...common, '--html', join(folder, 'report.html')],
  ]);
  const { router, experts } = fixture.reference.blocks.get(0) as Block;
  const load = experts.map(() => 0);
  for (const { choices } of route(router, rows, tokens))
    for (const { expert } of choices) load[expert] = (load[expert] as number) + 1;
  expect(counted[0]?.expertLoad).toEqual(load);
});

test.each([
  ['others', tokens, 'token_ids'],
  ['token_ids', tokens.slice(1), 'a value for each of 12 tokens, got 11'],
  ['token_ids', tokens.map(() => 2 ** 32), 'to hold ids of 32 bits, got 4294967296'],
])('ids that are not those of the tokens are an error: %s, %j', async (name, ids, message) => {
  const { common } = await recorded(name, 'I64', ids);
  const { code, stderr } = await nodeMoe(['run', ...common]);
  expect([code, stderr]).toEqual([1, expect.stringContaining(message)]);
});
