// Whole models as the addon has them: src/binding/model.ts is what native/addon reads and gives, and nothing that is done with a
// model takes the process with it.
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type {
  NativeAdmission,
  NativeModel,
  NativeModelSpec,
  NativeOuterViews,
  NativeSampling,
  NativeStep,
} from '../../src/binding/model.js';
import { loadNative } from '../../src/binding/native.js';
import {
  matrix,
  modelLayers,
  modelSpec,
  sampling,
  vector,
  vocabulary,
} from '../fixtures/small_model.js';
import { Surface, withEachWord, withoutEachField } from '../support/surface.js';

const binding = loadNative();
const surface = new Surface('src/binding/native.ts');
const addonPath =
  process.env['MOE_ADDON'] ?? join(import.meta.dirname, '../../build/Release/moe.node');
const hidden = modelSpec.hiddenSize;
const prompt = Int32Array.from({ length: 40 }, (_, i) => (i * 7) % vocabulary);

const outer = (): NativeOuterViews => ({
  embedding: matrix(vocabulary, hidden),
  norm: vector(hidden),
  head: matrix(vocabulary, hidden),
});
const wholeModel = async (spec: NativeModelSpec = modelSpec): Promise<NativeModel> => {
  const model = await binding.createModel('cpu', 0, spec);
  for (const { layer, views } of modelLayers) await model.addLayer(layer, views);
  await model.finish(outer());
  return model;
};
const stepOf = (sequence: number, count: number) => ({
  sequences: Int32Array.of(sequence),
  counts: Int32Array.of(count),
  sampled: new Int32Array(1),
});
const admit = (model: NativeModel, newTokens: number, options = {}): NativeAdmission => {
  const admission = model.admit(prompt, newTokens, { ...sampling, ...options });
  if (admission === undefined) throw new Error('Expected room');
  return admission;
};
/** The tokens that follow the prompt. */
async function generate(model: NativeModel, count: number, options = {}): Promise<number[]> {
  const { sequence, cached } = admit(model, count, options);
  const tokens: number[] = [];
  for (let feed = prompt.length - cached; tokens.length < count; feed = 1) {
    const step = stepOf(sequence, feed);
    await model.step(step);
    tokens.push(step.sampled[0] as number);
  }
  model.release(sequence);
  return tokens;
}

let model: NativeModel;

beforeAll(async () => {
  const native = surface.watch('NativeBinding', binding);
  model = (await native.call('createModel', 'cpu', 0, modelSpec)) as NativeModel;
  const watched = surface.watch('NativeModel', model);
  const progress: number[] = [];
  for (const { layer, views } of modelLayers)
    await watched.call('addLayer', layer, views, (done: number) => progress.push(done));
  expect(progress.at(-1)).toBe(4);
  await watched.call('finish', outer(), new binding.Cancellation());
  const admission = (await watched.call('admit', prompt, 2, sampling)) as NativeAdmission;
  const step: Required<NativeStep> = {
    ...stepOf(admission.sequence, prompt.length),
    logprobs: new Float32Array(1),
    topTokens: new Int32Array(20),
    topLogprobs: new Float32Array(20),
    logits: new Float32Array(prompt.length * vocabulary),
    nextLogprobs: new Float32Array(prompt.length),
    blockInputs: new Float32Array(modelSpec.layers * prompt.length * modelSpec.hiddenSize),
    cancellation: new binding.Cancellation(),
  };
  await watched.call('step', step);
  await watched.call('release', admission.sequence);
  await watched.call('usage');
  await watched.call('expertLoad', 1);
  await watched.call('packed', 1);
  await watched.call('readPacked', undefined, 0, 4, 8);
  const other = (await native.call('createModel', 'cpu', 0, modelSpec)) as NativeModel;
  await surface.watch('NativeModel', other).call('close');
});

afterAll(() => model.close());

describe('the addon reads what is declared, and gives it', () => {
  test.each([
    ...['NativeModelSpec', 'NativeProjection', 'NativeRotation', 'NativeDecoderLayer'],
    ...['NativeAttention', 'NativeDecoderLayerViews', 'NativeAttentionViews', 'NativeSampling'],
    ...['NativeOuterViews', 'NativeStep'],
  ])('%s', (name) => {
    expect([...(surface.read.get(name) ?? [])].sort()).toEqual(surface.fieldsOf(name));
  });

  test('a model has what is declared, and no more', () => {
    expect(surface.uncalled().filter((name) => name.startsWith('NativeModel.'))).toEqual([]);
    expect([...surface.given]).toEqual(
      expect.arrayContaining(['NativeModel', 'NativeAdmission', 'NativeModelUsage']),
    );
    expect(surface.differences).toEqual([]);
  });

  test('it needs what is not optional', async () => {
    for (const { path, value } of withoutEachField(surface, 'NativeModelSpec', modelSpec))
      await expect(
        async () => binding.createModel('cpu', 0, value as NativeModelSpec),
        path,
      ).rejects.toThrow();
    for (const { path, value } of withoutEachField(surface, 'NativeSampling', sampling))
      expect(() => model.admit(prompt, 1, value as NativeSampling), path).toThrow(/Expected/);
    const { sequence } = admit(model, 1);
    for (const { path, value } of withoutEachField(surface, 'NativeStep', stepOf(sequence, 1)))
      expect(() => model.step(value as NativeStep), path).toThrow(/Expected/);
    model.release(sequence);
    const empty = await binding.createModel('cpu', 0, modelSpec);
    for (const { layer, views } of modelLayers) {
      const left = withoutEachField(surface, 'NativeDecoderLayer', layer);
      // The queue is the model's.
      for (const { path, value } of left.filter(({ path }) => !path.endsWith('.maxQueue')))
        await expect(async () => empty.addLayer(value as never, views), path).rejects.toThrow();
      for (const { path, value } of withoutEachField(surface, 'NativeDecoderLayerViews', views))
        await expect(async () => empty.addLayer(layer, value as never), path).rejects.toThrow();
    }
    await empty.close();
  });

  test('it knows every word', async () => {
    const words: [string, () => unknown][] = [
      ...withEachWord(surface, 'NativeModelSpec', modelSpec).map(
        ({ path, value }): [string, () => unknown] => [
          path,
          () => binding.createModel('cpu', 0, value as NativeModelSpec),
        ],
      ),
      ...modelLayers.flatMap(({ layer, views }) =>
        withEachWord(surface, 'NativeDecoderLayer', layer).map(
          ({ path, value }): [string, () => unknown] => [
            path,
            () => model.addLayer(value as never, views),
          ],
        ),
      ),
    ];
    expect(words.length).toBeGreaterThan(10);
    for (const [path, made] of words) {
      const outcome = await Promise.resolve()
        .then(made)
        .catch((error: Error) => error.message);
      expect(String(outcome), path).not.toContain('known words');
    }
  });
});

describe('a model', () => {
  test('gives the same tokens for the same seed, whatever else runs and is kept', async () => {
    const alone = await generate(model, 12);
    expect(alone.every((token) => token >= 0 && token < vocabulary)).toBe(true);
    const together = await Promise.all([1n, 2n, 1n].map((seed) => generate(model, 12, { seed })));
    expect(together[0]).toEqual(alone);
    expect(together[2]).toEqual(alone);
    expect(together[1]).not.toEqual(alone);
    const other = await wholeModel({ ...modelSpec, prefixCache: false, threads: 1 });
    expect(await generate(other, 12)).toEqual(alone);
    await other.close();
  });

  test('keeps what equal beginnings share, and has no block in use once all is released', async () => {
    const before = admit(model, 1);
    expect(before.cached).toBe(32);
    expect(model.usage().sequences).toBe(1);
    model.release(before.sequence);
    const { blocks, freeBlocks, keptBlocks, sequences } = model.usage();
    expect([freeBlocks, sequences]).toEqual([blocks, 0]);
    expect(keptBlocks).toBeGreaterThanOrEqual(2);
  });

  test('says that there is no room now, or never', () => {
    const taken = admit(model, 150);
    expect(model.admit(prompt, 150, sampling)).toBeUndefined();
    model.release(taken.sequence);
    expect(() => model.admit(prompt, 161, sampling)).toThrow(
      expect.objectContaining({
        code: 'ERR_MOE_SHAPE',
        message: expect.stringContaining('200 tokens, got 40 + 161'),
      }),
    );
  });

  test('tells what each expert of a layer has served', () => {
    expect(model.expertLoad(0)).toEqual(new Float64Array());
    expect(model.expertLoad(1).reduce((sum, tokens) => sum + tokens)).toBeGreaterThanOrEqual(80);
    expect(() => model.expertLoad(2)).toThrow(/layer/);
  });

  test('weighs what it is told to weigh', () => {
    expect(model.weightBytes).toBeGreaterThan(4 * vocabulary * hidden);
    expect(model.cacheBytes).toBeGreaterThanOrEqual(4 * 256 * (2 * 16 + 12));
  });

  test('is as before after a step that was aborted', async () => {
    const expected = await generate(model, 3);
    const { sequence, cached } = admit(model, 3);
    const cancellation = new binding.Cancellation();
    const busy = binding.measureMachinePeak(1, 0.05); // so that the step waits
    const aborted = model.step({ ...stepOf(sequence, prompt.length - cached), cancellation });
    cancellation.cancel();
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_MOE_ABORTED' });
    await busy;
    const step = stepOf(sequence, prompt.length - cached);
    await model.step(step);
    expect(step.sampled[0]).toBe(expected[0]);
    model.release(sequence);
  });
});

describe('nonsense is refused, and the process lives', () => {
  test('arguments of every call', async () => {
    const any = model as unknown as Record<string, (...args: unknown[]) => unknown>;
    const { sequence } = admit(model, 1);
    const calls: [string, unknown[]][] = [
      ['addLayer', []],
      ['addLayer', [1, 2]],
      ['addLayer', [{}, {}]],
      ['finish', []],
      ['finish', [{}]],
      ['finish', [{ ...outer(), packed: {} }]],
      ['packed', [2]],
      ['packed', ['head']],
      ['readPacked', [0, 1000, 0, 1]],
      ['readPacked', [0, 0, 0, 2 ** 40]],
      ['readPacked', [0, 0, -1, 1]],
      ['admit', []],
      ['admit', [prompt, 1]],
      ['admit', [[1, 2], 1, sampling]],
      ['admit', [Int32Array.of(vocabulary), 1, sampling]],
      ['admit', [Int32Array.of(-1), 1, sampling]],
      ['admit', [new Int32Array(), 1, sampling]],
      ['admit', [prompt, -1, sampling]],
      ['admit', [prompt, Number.NaN, sampling]],
      ['admit', [prompt, 1, { ...sampling, biasTokens: Int32Array.of(vocabulary) }]],
      ['admit', [prompt, 1, { ...sampling, vocabulary: vocabulary + 1 }]],
      ['admit', [prompt, 1, { ...sampling, seed: -1n }]],
      ['admit', [prompt, 1, { ...sampling, logprobs: 21 }]],
      ['step', []],
      ['step', [{}]],
      ['step', [{ ...stepOf(sequence, 0) }]],
      ['step', [{ ...stepOf(sequence, 2 ** 20 + 1) }]],
      ['step', [{ ...stepOf(sequence, 1), counts: new Int32Array(2) }]],
      ['step', [{ ...stepOf(sequence, 1), sampled: new Int32Array() }]],
      ['step', [{ ...stepOf(sequence, 1), logits: new Float32Array(vocabulary - 1) }]],
      ['step', [{ ...stepOf(sequence, 1), topTokens: new Int32Array(19) }]],
      ['step', [{ ...stepOf(sequence, 1), cancellation: {} }]],
      ['release', []],
      ['release', [-1]],
      ['release', [sequence + 1]],
      ['release', [1e12]],
      ['expertLoad', []],
    ];
    for (const [name, args] of calls)
      expect(() => any[name]?.(...args), `${name} ${String(args)}`).toThrow(/Expected/);
    const unknown = stepOf(sequence + 5, 1);
    await model.step(unknown);
    expect([...unknown.sampled]).toEqual([-3]);
    const tooMany = model.step(stepOf(sequence, 41));
    await expect(tooMany).rejects.toMatchObject({ code: 'ERR_MOE_SHAPE' });
    model.release(sequence);
    expect(() => model.release(sequence)).toThrow(/sequence/);
    await model.step({
      sequences: new Int32Array(),
      counts: new Int32Array(),
      sampled: new Int32Array(),
    });
  });

  test('a model that is not loaded, or half', async () => {
    const half = await binding.createModel('cpu', 0, modelSpec);
    const finish = () => half.finish(outer());
    expect(() => half.admit(prompt, 1, sampling)).toThrow(/loaded/);
    expect(() => half.usage()).toThrow(/loaded/);
    expect(() => half.step(stepOf(0, 1))).toThrow(/loaded/);
    await expect(finish()).rejects.toThrow(/Expected 2 layers, got 0/);
    const [first, second] = modelLayers.map(({ layer, views }) => ({ layer, views }));
    if (!first || !second) throw new Error('Expected two layers');
    await expect(half.addLayer(first.layer, second.views)).rejects.toThrow(/`query`/);
    await half.addLayer(first.layer, first.views);
    await half.addLayer(first.layer, first.views);
    await expect(half.addLayer(first.layer, first.views)).rejects.toThrow(/2 layers/);
    await finish();
    await expect(finish()).rejects.toThrow(/once/);
    await half.close();
  });

  test('closed with steps under way: what waits is rejected', async () => {
    const closing = await wholeModel();
    const { sequence } = admit(closing, 20);
    const busy = binding.measureMachinePeak(1, 0.05); // so that steps wait
    const steps = [prompt.length, 1, 1, 1, 1].map((count) => closing.step(stepOf(sequence, count)));
    const closed = closing.close();
    const results = await Promise.allSettled(steps);
    await closed;
    await busy;
    await closing.close();
    for (const result of results)
      expect(result).toMatchObject({ reason: { code: 'ERR_MOE_CLOSED' } });
    expect(() => closing.admit(prompt, 1, sampling)).toThrow(
      expect.objectContaining({ code: 'ERR_MOE_CLOSED' }),
    );
    expect(() => closing.step(stepOf(sequence, 1))).toThrow(/closed/);
    expect(() => closing.usage()).toThrow(/closed/);
  });

  test('a sequence that is released before its step runs', async () => {
    const { sequence } = admit(model, 1);
    const busy = binding.measureMachinePeak(1, 0.05); // so that the step waits
    const call = stepOf(sequence, prompt.length - 32);
    const step = model.step(call);
    model.release(sequence);
    await step;
    expect([...call.sampled]).toEqual([-3]);
    await busy;
    expect(model.usage().sequences).toBe(0);
  });

  test('dropped, with steps running and without close', { timeout: 60_000 }, async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const drop = async (): Promise<WeakRef<NativeModel>> => {
      const dropped = await wholeModel();
      const { sequence } = admit(dropped, 20);
      void dropped.step(stepOf(sequence, prompt.length));
      return new WeakRef(dropped);
    };
    const all: WeakRef<NativeModel>[] = [];
    for (let i = 0; i < 5; i++) all.push(await drop());
    await expect
      .poll(
        () => {
          collect();
          return all.filter((dropped) => dropped.deref() !== undefined).length;
        },
        { timeout: 20_000 },
      )
      .toBe(0);
  });

  test('workers that end while they load and step', { timeout: 60_000 }, async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      const { addon, spec, layers, ends, prompt, sampling } = workerData;
      (async () => {
        const model = await require(addon).createModel('cpu', 0, spec);
        parentPort.postMessage('made');
        for (const { layer, views } of layers) await model.addLayer(layer, views);
        await model.finish(ends);
        for (;;) {
          const { sequence, cached } = model.admit(prompt, 50, sampling);
          for (let token = 0; token < 50; token++) {
            const counts = Int32Array.of(token === 0 ? prompt.length - cached : 1);
            await model.step({ sequences: Int32Array.of(sequence), counts, sampled: new Int32Array(1) });
          }
          model.release(sequence);
        }
      })();`;
    const workerData = {
      addon: addonPath,
      spec: modelSpec,
      layers: modelLayers,
      ends: outer(),
      prompt,
      sampling,
    };
    for (let round = 0; round < 8; round++) {
      const worker = new Worker(source, { eval: true, workerData });
      worker.once('message', () => setTimeout(() => void worker.terminate(), 2 * round));
      await new Promise((resolve) => worker.once('exit', resolve));
    }
  });
});
