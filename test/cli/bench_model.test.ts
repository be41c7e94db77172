import { join } from 'node:path';
import { expect, test } from 'vitest';
import { writeGguf } from '../../bench/gguf/write.mjs';
import { modelBenchReport } from '../../src/cli/bench/model_report.js';
import { type ModelBenchSettings, runModelBench } from '../../src/cli/bench/run_model_bench.js';
import { nodeMoe, nodeMoeJson, tinyMixtral } from '../fixtures/command_line.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { ggufOf, storedModel } from '../witness/llama.js';

/** Processes and rates of memory take their time where others run, too. */
const busy = { timeout: 120_000 };

const quick = {
  ...{ prompt: [8], sequences: [1, 3], newTokens: 4, rounds: 1 },
  ...{ weightType: ['int4'], kvType: ['int8'], threads: 1 },
} satisfies ModelBenchSettings;

test(
  'a whole model is timed with every number of sequences, in each type of weights',
  busy,
  async () => {
    const result = await runModelBench({
      ...quick,
      checkpoint: tinyMixtral,
      weightType: ['float32', 'int4'],
    });
    const { layers, parameters, cases, machine } = result;
    expect([layers, parameters]).toEqual([4, 1_840_256]);
    expect(machine.gigabytesPerSecond).toBeGreaterThan(0);
    const what = cases.map(({ weightType, sequences }) => [weightType, sequences]);
    expect(what).toEqual(
      ['float32', 'int4'].flatMap((type) => [1, 3].map((count) => [type, count])),
    );
    for (const { sequences, activeExperts, bytesPerStep, ...rates } of cases) {
      // Two of eight experts for each token, in each of four layers.
      expect(activeExperts).toBeGreaterThanOrEqual(8);
      expect(activeExperts).toBeLessThanOrEqual(8 * sequences);
      for (const rate of [bytesPerStep, rates.promptTokensPerSecond, rates.tokensPerSecond])
        expect(rate).toBeGreaterThan(0);
      expect(rates.gigabytesPerSecond).toBeCloseTo(
        ((rates.tokensPerSecond / sequences) * bytesPerStep) / 1e9,
        6,
      );
      // Of the rate in its own round, which is at most the best one.
      expect(rates.bandwidthFraction * machine.gigabytesPerSecond).toBeGreaterThanOrEqual(
        rates.gigabytesPerSecond * (1 - 1e-9),
      );
    }
    const [floats, , integers] = cases;
    expect(floats?.bytesPerStep).toBeGreaterThan(4 * (integers?.bytesPerStep ?? 0));
    const lines = modelBenchReport(result).split('\n');
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  },
);

test('weights are held as they are stored where no type is asked for', busy, async () => {
  const path = join(await temporaryFolder(), 'model.gguf');
  const { metadata, tensors } = ggufOf(await storedModel(tinyMixtral), 'Q4_0');
  await writeGguf(path, metadata, tensors);
  const { weightType: _, ...settings } = quick;
  const one = { ...settings, prompt: [8], sequences: [1] };
  const { cases } = await runModelBench({ ...one, checkpoint: path });
  const asked = await runModelBench({ ...one, checkpoint: path, weightType: ['published'] });
  for (const { weightType, activeExperts, bytesPerStep } of [...cases, ...asked.cases]) {
    expect([weightType, activeExperts]).toEqual(['published', 8]);
    // Of 1.84 million numbers with 32 experts, 4.5 bits each and some floats.
    expect(bytesPerStep).toBeGreaterThan(200_000);
    expect(bytesPerStep).toBeLessThan(500_000);
  }
  const packed = join(await temporaryFolder(), 'packed');
  await nodeMoeJson(['pack', path, '--out', packed]);
  const mapped = await runModelBench({ ...one, checkpoint: packed });
  expect(mapped.cases[0]?.weightType).toBe('published');
  // Panels of routers have room for more experts.
  const [inFile = 0, foretold = 0] = [mapped, { cases }].map((each) => each.cases[0]?.bytesPerStep);
  expect(inFile / foretold).toBeGreaterThan(1);
  expect(inFile / foretold).toBeLessThan(1.2);
});

test(
  'a well-known model is timed with made-up weights, as many layers as are asked for',
  busy,
  async () => {
    const one = { prompt: [8], sequences: [2] };
    const model = 'granite-3.0-1b-a400m';
    const result = await runModelBench({ ...quick, ...one, model, layers: 1 });
    expect(result).toMatchObject({ model, layers: 1, cases: [{ sequences: 2 }] });
    expect(result.cases[0]?.activeExperts).toBeGreaterThan(8);
  },
);

test.each([
  [[], 2, 'Expected a checkpoint, or `--model`'],
  [[tinyMixtral, '--model', 'olmoe-1b-7b'], 2, 'Expected a checkpoint, or `--model`'],
  [[tinyMixtral, '--layers', '2'], 2, 'Expected no `--layers`'],
  [['--model', 'gpt-5'], 2, 'Allowed choices are mixtral-8x7b'],
  [['--model', 'deepseek-v3', '--layers', '2'], 2, 'got 2, all of them dense'],
  [['--model', 'kimi-k2'], 1, 'give fewer `--layers` (ERR_MOE_OUT_OF_MEMORY)'],
])('what cannot be timed: %j', busy, async (args, code, message) => {
  const found = await nodeMoe(['bench-model', ...args]);
  expect([found.code, found.stdout]).toEqual([code, '']);
  expect(found.stderr).toContain(message);
});
