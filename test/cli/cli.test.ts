import { copyFile, cp, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SafetensorsFile } from '../../src/checkpoint/containers/file.js';
import { writeSafetensors } from '../../src/checkpoint/containers/write.js';
import type { LayerRun } from '../../src/cli/run_layer.js';
import { activations, nodeMoe, nodeMoeJson, root, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { relativeError } from '../reference/layer.js';

const runArguments = ['run', tinyMixtral, '--input', activations];

const runJson = (...options: string[]) =>
  nodeMoeJson<{ layers: LayerRun[] }>([...runArguments, ...options]);

const recordedFile = () => SafetensorsFile.open(`${root}/${activations}`);

test('help names every command, says what the exit codes mean and ends with 0', async () => {
  const { code, stdout } = await nodeMoe(['--help']);
  expect(code).toBe(0);
  for (const command of ['devices', 'inspect', 'pack', 'run', 'report', 'bench'])
    expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
  expect(stdout).toContain('Exit codes: 0 done, 1 failed, 2 wrong usage.');
});

test.each(['devices', 'inspect', 'pack', 'run', 'report', 'bench'])(
  'help of %s ends with 0 and names --json',
  async (command) => {
    const { code, stdout } = await nodeMoe([command, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('--json');
  },
);

test('the version is the package’s', async () => {
  const { stdout } = await nodeMoe(['--version']);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test.each([
  [['spin'], "unknown command 'spin'"],
  [['run', tinyMixtral], "required option '--layer <numbers>' not specified"],
  [[...runArguments, '--layer', 'first'], 'Expected an integer of at least 0, got `first`'],
  [
    [...runArguments, '--layer', '0', '--tokens', '9:3'],
    'Expected two positions in order as in 0:96, got `9:3`',
  ],
  [
    [...runArguments, '--layer', '0', '--weight-type', 'float8'],
    'Expected one of float32, bfloat16, float16',
  ],
  [[...runArguments, '--layer', '0', '--set', 'capacity'], 'Expected name=value, got `capacity`'],
  [
    [...runArguments, '--layer', '0', '--set', 'capacity_facto=1'],
    'did you mean `capacity_factor`?',
  ],
  [
    [...runArguments, '--layer', '0', '--set', 'capacity_factor=abc'],
    'Expected `capacityFactor` to be a finite number, got `abc` (string)',
  ],
  [
    [...runArguments, '--layer', '0', '--set', 'num_experts_chosen=9'],
    'Expected `numExpertsChosen` to be at most `expertNum` (8), got `9` (number)',
  ],
  [[...runArguments, '--layer', '0', '--set', 'aux_loss_types=['], '`aux_loss_types=[`: '],
  [[...runArguments, '--layer', '0', '--device', 'gpu'], "'cuda:N'"],
  [[...runArguments, '--layer', '0', '--threads', '5000'], 'from 1 to 4096'],
  [
    [...runArguments, '--layer', '0', '--routing'],
    "writes to the file of '--output', which is missing",
  ],
  [['bench', '--shape', 'gpt-5'], 'Allowed choices are bench-small'],
  [['bench', '--experts', '2', '--top-k', '4'], "option '--top-k' is 4, more than the 2 experts"],
  ...['num_experts_chosen=3', 'expert_num=9', 'capacity_factor=1', 'use_gating_sigmoid=true'].map(
    (set): [string[], string] => [
      ['bench', '--set', set],
      'Expected `--set` to leave sizes and results as they are',
    ],
  ),
  [['bench', '--set', 'aux_loss_factors=[0.1]'], 'Expected `auxLoss'],
])('wrong usage ends with 2 and one line that says what is wrong: %j', async (args, message) => {
  const { code, stdout, stderr } = await nodeMoe(args);
  expect(code).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^node-moe: [^\n]+\n$/);
  expect(stderr).toContain(message);
});

test('no command at all ends with 2 and the help on stderr', async () => {
  const { code, stdout, stderr } = await nodeMoe([]);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toContain('Usage: node-moe');
});

test('a failure ends with 1 and one line with the error’s code', async () => {
  const { code, stdout, stderr } = await nodeMoe(['inspect', 'no/such/checkpoint']);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/^node-moe: [^\n]*no\/such\/checkpoint[^\n]*\(ERR_MOE_CHECKPOINT\)\n$/);
});

test('a chat with a model that has no chat template says so before it asks for anything', async () => {
  const { code, stdout, stderr } = await nodeMoe(['chat', tinyMixtral]);
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toContain('to have a chat template, got none: `generate` goes on with a text');
});

test('--verbose and DEBUG show the stack of a failure', async () => {
  const verbose = await nodeMoe(['--verbose', 'inspect', 'no/such/checkpoint']);
  const debug = await nodeMoe(['inspect', 'no/such/checkpoint'], { DEBUG: '1' });
  for (const { code, stderr } of [verbose, debug]) {
    expect(code).toBe(1);
    expect(stderr).toMatch(/\n {4}at /);
  }
});

test('a truncated checkpoint is an error that names the file', async () => {
  const folder = await temporaryFolder();
  await cp(`${root}/${tinyMixtral}`, folder, { recursive: true });
  await truncate(join(folder, 'model.safetensors'), 100_000);
  for (const command of [
    ['inspect', folder],
    ['run', folder, '--layer', '0', '--input', activations],
  ]) {
    const { code, stderr } = await nodeMoe(command);
    expect(code).toBe(1);
    expect(stderr).toContain(join(folder, 'model.safetensors'));
    expect(stderr).toContain('ERR_MOE_CHECKPOINT');
  }
});

test('devices lists every backend, the CPU with kernels, threads and memory', async () => {
  const { host, backends } = await nodeMoeJson<{
    host: { threads: number };
    backends: {
      name: string;
      available: boolean;
      reason?: string;
      devices?: Record<string, unknown>[];
    }[];
  }>(['devices']);
  expect(host.threads).toBeGreaterThan(0);
  expect(backends.map(({ name }) => name).sort()).toEqual(['ascend', 'cpu', 'cuda']);
  const cpu = backends.find(({ name }) => name === 'cpu');
  expect(cpu?.devices?.[0]).toMatchObject({
    kernels: expect.stringMatching(/\w/),
    threads: expect.any(Number),
  });
  for (const { available, reason } of backends)
    expect(available || (reason ?? '').length > 0).toBe(true);
  const { stdout } = await nodeMoe(['devices']);
  expect(stdout).toMatch(/kernels {2}\S/);
});

test('inspect gives the model’s type, sizes, config and the bytes of every MoE layer', async () => {
  const inspection = await nodeMoeJson<Record<string, unknown>>(['inspect', tinyMixtral]);
  // 8 experts of 3 matrices of 128 x 128 and the router, in two bytes each.
  const bytes = (8 * 3 * 128 * 128 + 8 * 128) * 2;
  expect(inspection).toMatchObject({
    modelType: 'mixtral',
    hiddenSize: 128,
    intermediateSize: 128,
    activation: 'swiglu',
    router: 'softmax scores, 2 of 8 experts, weights divided by their sum',
    experts: expect.stringMatching(/^8 of swiglu, 128 to 128 and back, stored as block_sparse_moe/),
    sharedExpert: null,
    stack: 'model',
    weightType: 'bfloat16',
    config: { expert_num: 8, num_experts_chosen: 2 },
    layers: [0, 1, 2, 3].map((layer) => ({ layer, tensors: 25, bytes, dtypes: ['BF16'] })),
  });
  expect(inspection['tensors']).toContainEqual({
    tensor: 'model.layers.*.block_sparse_moe.experts.*.w2.weight',
    types: [{ dtype: 'BF16', layers: [0, 1, 2, 3] }],
  });
  const { stdout } = await nodeMoe(['inspect', tinyMixtral]);
  expect(stdout).toContain('4 (0-3)');
  expect(stdout).toContain('"expert_num": 8');
});

test('run on all layers gives the recorded outputs and experts', async () => {
  const { layers } = await runJson('--layer', 'all', '--expect');
  expect(layers.map(({ layer }) => layer)).toEqual([0, 1, 2, 3]);
  for (const {
    tokens,
    expected,
    expertLoad,
    served,
    imbalance,
    droppedChoices,
    capacity,
  } of layers) {
    expect(expected?.expertIdsIdentical).toBe(true);
    expect(expected?.relativeError).toBeLessThan(1e-5);
    const { maxAbsoluteError, maxAbsoluteExpected } = expected ?? {};
    expect(maxAbsoluteError).toBeLessThan(2e-6 * (maxAbsoluteExpected ?? 0));
    expect([tokens, served, droppedChoices, capacity]).toEqual([192, 384, 0, null]);
    expect(expertLoad.reduce((sum, load) => sum + load, 0)).toBe(384);
    expect(imbalance).toBeCloseTo((Math.max(...expertLoad) * 8) / 384, 10);
  }
});

test('run writes output and routing under the names they are recorded by', async () => {
  const output = join(await temporaryFolder(), 'y.safetensors');
  await runJson('--layer', '1,3', '--output', output, '--routing');
  const written = await SafetensorsFile.open(output);
  const recorded = await recordedFile();
  for (const layer of [1, 3]) {
    const { data } = await written.readTensor(`layers.${layer}.output`);
    const { data: expected } = await recorded.readTensor(`layers.${layer}.output`);
    expect(data.length).toBe(expected.length);
    expect(relativeError(data, [...expected]) <= 1e-5).toBe(true);
    expect(written.entry(`layers.${layer}.expert_ids`)).toMatchObject({
      dtype: 'I32',
      shape: [192, 2],
    });
    expect(written.entry(`layers.${layer}.expert_weights`)).toMatchObject({
      dtype: 'F32',
      shape: [192, 2],
    });
    expect(written.entry(`layers.${layer}.expert_load`)).toMatchObject({
      dtype: 'U32',
      shape: [8],
    });
  }
  expect(written.tensors.size).toBe(8);
});

test('the loads of two ranges of tokens add up to the load of all', async () => {
  const loads = await Promise.all(
    [[], ['--tokens', '0:96'], ['--tokens', '96:']].map(async (range) => {
      const { layers } = await runJson('--layer', '2', '--expect', ...range);
      expect(layers[0]?.expected?.relativeError).toBeLessThan(1e-5);
      return layers[0]?.expertLoad ?? [];
    }),
  );
  const [whole, first, second] = loads;
  expect(first?.map((load, expert) => load + (second?.[expert] ?? 0))).toEqual(whole);
});

test('--set and --config change the routing as MindFormers’ options do', async () => {
  const path = join(await temporaryFolder(), 'moe.yaml');
  await writeFile(path, 'moe_config:\n  routing_policy: TopkRouterV2\n  capacity_factor: 0.5\n');
  const { layers: fromFile } = await runJson('--layer', '0', '--config', path);
  const settings = ['--set', 'routing_policy=TopkRouterV2', '--set', 'capacityFactor=0.5'];
  const { layers: fromSettings } = await runJson('--layer', '0', ...settings);
  expect(fromFile[0]?.droppedChoices).toBeGreaterThan(0);
  expect(fromFile[0]?.capacity).toBeGreaterThan(0);
  expect(Math.max(...(fromFile[0]?.expertLoad ?? []))).toBeLessThanOrEqual(
    fromFile[0]?.capacity ?? 0,
  );
  expect(fromSettings[0]?.expertLoad).toEqual(fromFile[0]?.expertLoad);
});

test('--config takes what MoEConfig.parse takes, and what has no effect is noted', async () => {
  const path = join(await temporaryFolder(), 'train.yaml');
  const fields =
    'capacity_factor: 1.0, routing_policy: TopkRouterV1, save_token_distribution: true';
  await writeFile(path, `model: {model_config: {moe_config: {${fields}}}}`);
  const { layers } = await runJson(
    '--layer',
    '0',
    '--config',
    path,
    '--set',
    'group_wise_a2a=true',
  );
  expect(layers[0]?.capacity).toBe(48);
  expect(layers[0]?.diagnostics.map((sentence) => sentence.split('`')[1])).toEqual([
    'groupWiseA2a',
    'save_token_distribution',
  ]);
  await writeFile(path, 'capacity_factor: 1.0\ncapacityFactor: 2.0\n');
  const { code, stderr } = await nodeMoe([...runArguments, '--layer', '0', '--config', path]);
  expect(code).toBe(1);
  expect(stderr).toMatch(/each option once.*ERR_MOE_CONFIG/);
});

test('an output that is also read is refused before anything runs, and stays as it was', async () => {
  const folder = await temporaryFolder();
  await cp(`${root}/${tinyMixtral}`, folder, { recursive: true });
  const before = await readFile(join(folder, 'model.safetensors'));
  await symlink(join(folder, 'activations.safetensors'), join(folder, 'link'));
  for (const name of ['link', 'activations.safetensors', 'model.safetensors', 'config.json']) {
    const args = ['run', folder, '--layer', '0', '--input', `${folder}/activations.safetensors`];
    const { code, stderr } = await nodeMoe([...args, '--output', join(folder, name)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/Expected `--output` to name another file than .*, which is read/);
  }
  expect(before.equals(await readFile(join(folder, 'model.safetensors')))).toBe(true);
});

test('tokens that cannot be routed are counted', async () => {
  const folder = await temporaryFolder();
  const data = new Float32Array(3 * 128).fill(0.1);
  data[130] = Number.NaN;
  const input = join(folder, 'input.safetensors');
  await writeSafetensors(input, { x: { dtype: 'F32', shape: [3, 128], data } });
  const args = ['run', tinyMixtral, '--layer', '0', '--input', input];
  const { layers } = await nodeMoeJson<{ layers: LayerRun[] }>(args);
  expect(layers[0]).toMatchObject({ unroutableTokens: 1, served: 4, droppedChoices: 0 });
  expect((await nodeMoe(args)).stdout).toMatch(/not finite +1 token, their output is NaN/);
});

test('the table draws every expert’s load as a bar, the busiest one in full width', async () => {
  const { stdout } = await nodeMoe([...runArguments, '--layer', '0', '--expect'], {
    NO_COLOR: '1',
  });
  const rows = [...stdout.matchAll(/^ +(\d+) +(\d+) +[\d.]+ % +([█▏▎▍▌▋▊▉]*)$/gm)];
  expect(rows.map(([, expert]) => Number(expert))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  const busiest = Math.max(...rows.map(([, , load]) => Number(load)));
  for (const [, , load, bar] of rows) {
    expect(bar?.length).toBe(
      Math.ceil((Math.round((Number(load) / busiest) * 32 * 8) || (Number(load) > 0 ? 1 : 0)) / 8),
    );
  }
  expect(stdout).toContain('experts identical');
  expect(stdout).not.toContain('\x1b');
});

test('a 16-bit input of one tensor is taken whatever its name', async () => {
  const folder = await temporaryFolder();
  const { data } = await (await recordedFile()).readTensor('layers.0.input');
  const bits = Uint16Array.from(
    new Uint32Array(data.buffer, data.byteOffset, data.length),
    (word) => word >>> 16,
  );
  await writeSafetensors(join(folder, 'x.safetensors'), {
    hidden: { dtype: 'BF16', shape: [192, 128], data: bits },
  });
  const { layers } = await nodeMoeJson<{ layers: LayerRun[] }>([
    'run',
    tinyMixtral,
    '--layer',
    '0',
    '--input',
    join(folder, 'x.safetensors'),
  ]);
  expect(layers[0]).toMatchObject({ input: 'hidden', tokens: 192, served: 384 });
});

test.each([
  [['--tensor', 'layers.9.input'], 'layers.9.input'],
  [['--tensor', 'logits'], '[tokens, 128]'],
  [['--tokens', '100:300'], '192 tokens'],
  [['--expect', 'logits'], '[tokens, 128]'],
])('an input that does not fit is an error that says so: %j', async (options, message) => {
  const { code, stderr } = await nodeMoe([...runArguments, '--layer', '0', ...options]);
  expect(code).toBe(1);
  expect(stderr).toContain(message);
  expect(stderr).toContain('activations.safetensors');
});

test('a checkpoint of one file runs where its config.json stands beside it', async () => {
  const folder = await temporaryFolder();
  await copyFile(`${root}/${tinyMixtral}/model.safetensors`, join(folder, 'model.safetensors'));
  await copyFile(`${root}/${tinyMixtral}/config.json`, join(folder, 'config.json'));
  const { layers } = await nodeMoeJson<{ layers: LayerRun[] }>([
    'run',
    join(folder, 'model.safetensors'),
    '--layer',
    '3',
    '--input',
    activations,
    '--expect',
  ]);
  expect(layers[0]?.expected?.relativeError).toBeLessThan(1e-5);
});
