import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { addon } from '../../src/binding/addon.js';
import type { NativeLayer } from '../../src/binding/native.js';
import {
  ClosedError,
  ConfigError,
  DeviceError,
  type LayerOptions,
  MoEConfig,
  MoEError,
  MoELayer,
  ShapeError,
} from '../../src/index.js';
import { callOf } from '../../src/layer/forward.js';
import { float32Tensor, randomValues, smallLayer } from '../support/layers.js';

const open: MoELayer[] = [];

async function create(options: LayerOptions = smallLayer()): Promise<MoELayer> {
  const layer = await MoELayer.create(options);
  open.push(layer);
  return layer;
}

/** An array whose memory may move: TypeScript's library of this target does not know the option. */
function resizable(bytes: number): Float32Array {
  const Resizable = ArrayBuffer as new (
    bytes: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer;
  return new Float32Array(new Resizable(bytes, { maxByteLength: 2 * bytes }));
}

/** A layer and a batch that keep the device busy for a while: tens of milliseconds on a fast machine. */
async function busy(): Promise<{ layer: MoELayer; hidden: Float32Array }> {
  const layer = await create(smallLayer({ E: 4, K: 2, H: 512, I: 1024, seed: 7 }));
  return { layer, hidden: randomValues(512 * 1024, 8) };
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((layer) => layer.close()));
});

describe('create', () => {
  test('shows what was chosen', async () => {
    const layer = await create({ ...smallLayer(), device: 'cpu', weightType: 'bfloat16' });
    expect(layer.config).toBeInstanceOf(MoEConfig);
    expect(layer).toMatchObject({
      hiddenSize: 32,
      intermediateSize: 24,
      activation: 'swiglu',
      device: 'cpu',
    });
    expect(layer.weightType).toBe('bfloat16');
    expect(layer.weightBytes).toBeGreaterThanOrEqual(8 * 3 * 32 * 24 * 2);
    expect(layer.diagnostics).toEqual(layer.config.diagnostics);
  });

  test.each<[string, (options: LayerOptions) => unknown, new (...args: never[]) => Error, RegExp]>([
    [
      'an unknown option',
      (o) => ({ ...o, hidenSize: 3 }),
      ConfigError,
      /did you mean `hiddenSize`/,
    ],
    [
      'no hidden size',
      (o) => ({ ...o, hiddenSize: 0 }),
      ConfigError,
      /`hiddenSize` to be an integer/,
    ],
    [
      'an unknown weight',
      (o) => ({ ...o, weights: { ...o.weights, downBais: o.weights.down } }),
      ConfigError,
      /option of weights, got `downBais` \(string\): did you mean `downBias`/,
    ],
    [
      'a config that is none',
      (o) => ({ ...o, config: 'x' }),
      ConfigError,
      /`config` to be an object/,
    ],
    ['an unknown activation', (o) => ({ ...o, activation: 'swish' }), ConfigError, /`activation`/],
    ['an unknown weight type', (o) => ({ ...o, weightType: 'int3' }), ConfigError, /`weightType`/],
    [
      'an unknown activation type',
      (o) => ({ ...o, activationType: 'int4' }),
      ConfigError,
      /`activationType`/,
    ],
    [
      'int8 rows for weights that are not int8',
      (o) => ({ ...o, activationType: 'int8' }),
      ConfigError,
      /`activationType` 'int8' with weightType 'int8' or 'int4' or 'published', got 'float32'/,
    ],
    ['an unknown device', (o) => ({ ...o, device: 'tpu' }), ConfigError, /`device`.*got `tpu`/],
    ['no threads', (o) => ({ ...o, threads: 0 }), ConfigError, /`threads`/],
    [
      'a missing gate',
      (o) => ({ ...o, weights: { ...o.weights, gate: undefined } }),
      ShapeError,
      /`weights\.gate`/,
    ],
    [
      'a gate without use for it',
      (o) => ({ ...o, activation: 'relu' }),
      ShapeError,
      /no `weights\.gate`: the activation has no gate/,
    ],
    [
      'a gate that the shared expert has no use for',
      (o) => {
        const { gate, up, down } = o.weights;
        const shared = { gate, up, down } as LayerOptions['weights']['shared'];
        const config = { ...o.config, sharedExpertNum: 1 };
        return { ...o, config, sharedActivation: 'relu2', weights: { ...o.weights, shared } };
      },
      ShapeError,
      /no `weights\.shared\.gate`: the activation has no gate/,
    ],
    [
      'a limit of what has none',
      (o) => ({ ...o, activation: 'geglu_tanh', activationLimit: 7 }),
      ConfigError,
      /no `activationLimit`: the activation 'geglu_tanh' has no such number/,
    ],
    [
      'an alpha of what has none',
      (o) => ({ ...o, activation: 'geglu', activationAlpha: 2 }),
      ConfigError,
      /no `activationAlpha`: the activation 'geglu' has no such number/,
    ],
    [
      'a clamp without a limit',
      (o) => ({ ...o, activationClamp: 'after' }),
      ConfigError,
      /no `activationClamp`: there is no limit/,
    ],
    [
      'a limit of no shared expert',
      (o) => ({ ...o, sharedActivationLimit: null }),
      ConfigError,
      /no `sharedActivationLimit`: there is no always-on expert/,
    ],
    [
      'a limit of nothing',
      (o) => ({ ...o, activationLimit: 0 }),
      ConfigError,
      /`activationLimit` to be a finite number above 0 or null, got `0`/,
    ],
    [
      'latent projections that are missing',
      (o) => {
        const { gate, up, down } = smallLayer({ H: 20 }).weights;
        return { ...o, latentSize: 20, weights: { ...o.weights, gate, up, down } };
      },
      ShapeError,
      /`weights\.latentDown` to be a tensor of shape \[20, 32\], got `undefined`/,
    ],
    [
      'experts that are not as narrow as the latent size',
      (o) => ({ ...o, latentSize: 20 }),
      ShapeError,
      /`weights\.gate` to have shape \[8, 24, 20\], got \[8, 24, 32\]/,
    ],
    [
      'latent projections without a latent size',
      (o) => ({
        ...o,
        weights: { ...o.weights, latentUp: float32Tensor(new Float32Array(64), [32, 2]) },
      }),
      ShapeError,
      /no `weights\.latentUp`: there is no `latentSize`/,
    ],
    [
      'a weight of another shape',
      (o) => ({ ...o, intermediateSize: 25 }),
      ShapeError,
      /`weights\.gate` to have shape \[8, 25, 32\], got \[8, 24, 32\]/,
    ],
    [
      'a weight that is too short',
      (o) => ({
        ...o,
        weights: { ...o.weights, up: float32Tensor(new Float32Array(5), [8, 24, 32]) },
      }),
      ShapeError,
      /`weights\.up` of shape \[8, 24, 32\] to hold 6144 values, got 5/,
    ],
    [
      'bits as floats',
      (o) => ({ ...o, weights: { ...o.weights, up: { ...o.weights.up, dtype: 'bfloat16' } } }),
      ShapeError,
      /`weights\.up` to be a Uint16Array for bfloat16, got a Float32Array/,
    ],
    [
      'a shared expert that the config does not have',
      (o) => ({
        ...o,
        weights: { ...o.weights, shared: { up: o.weights.up, down: o.weights.down } },
      }),
      ConfigError,
      /`sharedExpertNum` is 0/,
    ],
    [
      'a shared expert that is missing',
      (o) => ({ ...o, config: { ...o.config, sharedExpertNum: 1 } }),
      ShapeError,
      /`weights\.shared` of width 24/,
    ],
    [
      'a correction bias that is missing',
      (o) => ({ ...o, config: { ...o.config, balanceViaTopkBias: true } }),
      ShapeError,
      /`weights\.routerCorrectionBias`: `balanceViaTopkBias` is true/,
    ],
    [
      'a width the config contradicts',
      (o) => ({ ...o, config: { ...o.config, moeIntermediateSize: 48 } }),
      ConfigError,
      /`moeIntermediateSize` to be the layer's intermediateSize 24, got `48`/,
    ],
  ])('refuses %s', async (_, change, Class, message) => {
    const options = change(smallLayer()) as LayerOptions;
    await expect(MoELayer.create(options)).rejects.toThrow(message);
    await expect(MoELayer.create(options)).rejects.toBeInstanceOf(Class);
  });

  test('a device that is not there is an error with its reason, never another device', async () => {
    const failure = await MoELayer.create({ ...smallLayer(), device: 'cuda:3' }).catch(
      (error) => error,
    );
    expect(failure).toBeInstanceOf(DeviceError);
    expect(failure.code).toBe('ERR_MOE_DEVICE_UNAVAILABLE');
    expect(failure.message).toMatch(/cuda/);
  });

  test('an error says where the caller stood and keeps its cause', async () => {
    async function caller() {
      await MoELayer.create({ ...smallLayer(), device: 'cuda' });
    }
    const failure = await caller().catch((error) => error);
    expect(failure.stack).toContain('caller');
    expect(failure.cause).toBeInstanceOf(Error);
  });
});

describe('forward', () => {
  test('takes no tokens', async () => {
    const layer = await create();
    const result = await layer.forward(new Float32Array(0), { routing: true });
    expect(result.output).toHaveLength(0);
    expect([...result.expertLoad]).toEqual(new Array(8).fill(0));
    expect(result.routing?.expertIds).toHaveLength(0);
  });

  test('returns what routing was asked for, and the load that goes with it', async () => {
    const layer = await create();
    const hidden = randomValues(5 * 32, 2);
    const { routing, expertLoad, capacity, droppedChoices } = await layer.forward(hidden, {
      routing: true,
    });
    const load = new Array(8).fill(0);
    for (const id of routing?.expertIds ?? []) load[id] += 1;
    expect([...expertLoad]).toEqual(load);
    expect(capacity).toBeNull();
    expect(droppedChoices).toBe(0);
    expect((await layer.forward(hidden)).routing).toBeUndefined();
    expect(await layer.route(hidden)).toEqual(routing);
  });

  test.each<[string, (layer: MoELayer) => unknown, RegExp]>([
    [
      'an array of another type',
      (l) => l.forward(new Float64Array(1e6) as never),
      /got a Float64Array$/,
    ],
    ['null for options', (l) => l.forward(randomValues(32, 1), null as never), /`options`/],
    [
      'a signal that is none',
      (l) => l.forward(randomValues(32, 1), { signal: {} as never }),
      /`signal`/,
    ],
    [
      'a routing that is no flag',
      (l) => l.forward(randomValues(32, 1), { routing: 'yes' as never }),
      /`routing`/,
    ],
  ])('refuses %s by name', async (_, call, message) => {
    const layer = await create(smallLayer());
    await expect(call(layer)).rejects.toBeInstanceOf(MoEError);
    await expect(call(layer)).rejects.toThrow(message);
  });

  test('reads a tensor once: what was checked is what is used', async () => {
    const layer = await create(smallLayer());
    const fixed = randomValues(32, 1);
    const growing = resizable(128);
    let reads = 0;
    const hidden = {
      dtype: 'float32' as const,
      shape: [1, 32],
      get data() {
        return reads++ === 0 ? fixed : growing;
      },
    };
    const { output } = await layer.forward(hidden);
    expect(output).toEqual((await layer.forward(fixed)).output);
    expect(reads).toBe(1);
  });

  test('writes to `out`, which may be the input', async () => {
    const layer = await create();
    const hidden = randomValues(3 * 32, 3);
    const { output } = await layer.forward(hidden);
    const out = new Float32Array(3 * 32);
    expect((await layer.forward(hidden, { out })).output).toBe(out);
    expect(out).toEqual(output);
    await layer.forward(hidden, { out: hidden });
    expect(hidden).toEqual(output);
  });

  test('forwardSync gives the same, behind calls that wait', async () => {
    const layer = await create();
    const hidden = randomValues(4 * 32, 4);
    const first = layer.forward(hidden);
    const second = layer.forwardSync(hidden);
    expect(second.output).toEqual((await first).output);
  });

  test.each<[string, (values: Float32Array) => Float32Array]>([
    [
      'a view into the middle of a buffer',
      (values) => {
        const wide = new Float32Array(values.length + 7);
        wide.set(values, 5);
        return wide.subarray(5, 5 + values.length);
      },
    ],
    [
      'shared memory',
      (values) => {
        const shared = new Float32Array(new SharedArrayBuffer(values.byteLength));
        shared.set(values);
        return shared;
      },
    ],
    [
      "a Buffer's memory",
      (values) => {
        const buffer = Buffer.alloc(values.byteLength);
        const view = new Float32Array(buffer.buffer, buffer.byteOffset, values.length);
        view.set(values);
        return view;
      },
    ],
  ])('reads and writes %s', async (_, place) => {
    const layer = await create();
    const hidden = randomValues(3 * 32, 5);
    const { output } = await layer.forward(hidden);
    const out = place(new Float32Array(3 * 32));
    await layer.forward(place(hidden), { out });
    expect([...out]).toEqual([...output]);
  });

  test('refuses memory that can move, has gone, or does not fit', async () => {
    const layer = await create();
    const growing = resizable(128);
    await expect(layer.forward(growing)).rejects.toThrow(/`hidden` .*fixed length/);
    const detached = randomValues(32, 6);
    structuredClone(detached.buffer, { transfer: [detached.buffer as ArrayBuffer] });
    await expect(layer.forward(detached)).rejects.toThrow(/`hidden`.*detached/);
    await expect(layer.forward(new Float32Array(33))).rejects.toThrow(
      /multiple of hiddenSize 32, got 33/,
    );
    await expect(
      layer.forward(new Float32Array(32), { out: new Float32Array(31) }),
    ).rejects.toThrow(/`out` to hold 32/);
    await expect(layer.forward([1, 2] as never)).rejects.toBeInstanceOf(ShapeError);
    await expect(layer.forward(new Float32Array(32), { rooting: true } as never)).rejects.toThrow(
      /did you mean `routing`/,
    );
  });

  test('one failing call rejects alone', async () => {
    const layer = await create();
    const hidden = randomValues(2 * 32, 9);
    const calls = [
      layer.forward(hidden),
      layer.forward(new Float32Array(5)),
      layer.forward(hidden),
    ];
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  test('calls of several layers overlap and end in the order they were made', async () => {
    const layers = await Promise.all([1, 2, 3].map((seed) => create(smallLayer({ seed }))));
    const ended: number[] = [];
    const calls = Array.from({ length: 60 }, async (_, index) => {
      const layer = layers[index % 3] as MoELayer;
      const hidden = randomValues(2 * 32, index);
      const { output } = await layer.forward(hidden);
      ended.push(index);
      expect(output).toEqual(layer.forwardSync(hidden).output);
    });
    await Promise.all(calls);
    expect(ended).toEqual(Array.from({ length: 60 }, (_, index) => index));
  });

  test('the call that runs does not count as waiting', async () => {
    const layer = await create({ ...smallLayer(), maxQueue: 1 });
    for (let round = 0; round < 50; round++)
      await Promise.all([layer.forward(randomValues(32, 1)), layer.forward(randomValues(32, 1))]);
  });

  test('a full queue is an error, and the calls in it still end', async () => {
    const { layer, hidden } = await busy();
    const small = await create({ ...smallLayer(), maxQueue: 3 });
    const running = layer.forward(hidden);
    const calls = Array.from({ length: 10 }, () => small.forward(randomValues(32, 1)));
    const outcomes = await Promise.allSettled(calls);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.reason).toBeInstanceOf(DeviceError);
    expect(refused[0]?.reason.code).toBe('ERR_MOE_QUEUE_FULL');
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
    await running;
  });

  test('the event loop turns while a long call runs', async () => {
    const { layer, hidden } = await busy();
    let ticks = 0;
    const timer = setInterval(() => ticks++, 2);
    const start = performance.now();
    const calls = Array.from({ length: 8 }, () => layer.forward(hidden));
    await Promise.all(calls);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan((performance.now() - start) / 50);
  });
});

test('a load asks once what devices there are, and one of floats does not', async () => {
  const listed = vi.spyOn(addon(), 'devices');
  try {
    await create({ ...smallLayer(), device: 'cpu' });
    expect(listed).toHaveBeenCalledTimes(0);
    const held = { device: 'cpu', weightType: 'int8', activationType: 'int8' } as const;
    await create({ ...smallLayer(), ...held });
    expect(listed).toHaveBeenCalledTimes(1);
  } finally {
    listed.mockRestore();
  }
});

describe('abort', () => {
  test('an aborted signal rejects at once with its reason', async () => {
    const layer = await create();
    const reason = new Error('no longer needed');
    const signal = AbortSignal.abort(reason);
    await expect(layer.forward(randomValues(32, 1), { signal })).rejects.toBe(reason);
    expect(() => layer.forwardSync(randomValues(32, 1), { signal })).toThrow(reason);
  });

  test('a waiting call is withdrawn before the running one ends', async () => {
    const { layer, hidden } = await busy();
    let runningEnded = false;
    const running = layer.forward(hidden).then(() => {
      runningEnded = true;
    });
    const controller = new AbortController();
    const waiting = layer.forward(hidden, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toThrow(/abort/i);
    expect(runningEnded).toBe(false);
    await running;
  });

  test('a running call stops early, and the layer works on', async () => {
    const { layer, hidden } = await busy();
    const { output } = await layer.forward(hidden);
    const out = new Float32Array(hidden.length);
    // A call that was still waiting says so, and one that ended first resolves: then another moment is tried.
    let outcome = '';
    for (let attempt = 0; attempt < 200 && outcome !== 'The call was aborted'; attempt++) {
      const call = callOf(hidden, { out: out.fill(7) }, layer, new Float64Array(4));
      const cancellation = new (addon().Cancellation)();
      const running = (layer.native as NativeLayer).forward({ ...call, cancellation });
      const ended = running.then(
        () => 'it ended',
        ({ message }) => message,
      );
      await sleep(attempt % 20);
      cancellation.cancel();
      outcome = await ended;
    }
    expect(outcome).toBe('The call was aborted');
    expect(out.every((value) => value === 7)).toBe(true); // what writes the output comes last
    expect((await layer.forward(hidden)).output).toEqual(output);
  });

  test('creating a layer can be aborted', async () => {
    const controller = new AbortController();
    controller.abort(new Error('stop'));
    const { partsOf } = await import('../../src/layer/parts.js');
    const parts = { ...partsOf(smallLayer()), signal: controller.signal };
    await expect(MoELayer.fromParts(parts)).rejects.toThrow('stop');
  });
});

test.each([0, 3])('the result may be written over the batch, %s rows further', async (rows) => {
  const layer = await create(smallLayer());
  const batch = randomValues(40 * 32, 4);
  const { output } = await layer.forward(batch);
  const memory = new Float32Array((40 + rows) * 32);
  memory.set(batch);
  const out = memory.subarray(rows * 32);
  await layer.forward(memory.subarray(0, batch.length), { out });
  expect(out).toEqual(output);
});

describe('close', () => {
  test('rejects what waits, lets the running call end, and may be called twice', async () => {
    const { layer } = await busy();
    const hidden = randomValues(512 * 8192, 8);
    const running = layer.forward(hidden); // for so long that it is surely running when the layer is closed
    await new Promise((resolve) => setTimeout(resolve, 100));
    const waiting = layer.forward(hidden);
    const closing = layer.close();
    await expect(waiting).rejects.toBeInstanceOf(ClosedError);
    await expect(running).resolves.toBeDefined();
    await closing;
    await layer.close();
  });

  test('a closed layer runs nothing', async () => {
    const layer = await create();
    await layer.close();
    await expect(layer.forward(randomValues(32, 1))).rejects.toBeInstanceOf(ClosedError);
    await expect(layer.route(randomValues(32, 1))).rejects.toBeInstanceOf(ClosedError);
    expect(() => layer.forwardSync(randomValues(32, 1))).toThrow(ClosedError);
    expect(layer.hiddenSize).toBe(32);
  });

  test('await using closes', async () => {
    let used: MoELayer;
    {
      await using layer = await MoELayer.create(smallLayer());
      used = layer;
      await layer.forward(randomValues(32, 1));
    }
    await expect(used.forward(randomValues(32, 1))).rejects.toBeInstanceOf(ClosedError);
  });

  test('closing one layer leaves the others of its device alone', async () => {
    const [first, second] = await Promise.all([create(), create(smallLayer({ seed: 2 }))]);
    const hidden = randomValues(3 * 32, 1);
    const { output } = await second.forward(hidden);
    await first.close();
    expect((await second.forward(hidden)).output).toEqual(output);
  });
});

describe('one expert', () => {
  test('is a plain feed-forward layer that needs no router', async () => {
    const options = smallLayer({
      E: 1,
      K: 1,
      config: { capacityFactor: 1.1, routingPolicy: 'TopkRouterV1' },
    });
    const { router: _, ...weights } = options.weights;
    const layer = await create({ ...options, weights });
    const { routing, auxLoss, capacity, expertLoad } = await layer.forward(
      randomValues(3 * 32, 1),
      { routing: true },
    );
    expect([...(routing?.weights ?? [])]).toEqual([1, 1, 1]);
    expect([...expertLoad]).toEqual([3]);
    expect({ auxLoss, capacity }).toEqual({ auxLoss: 0, capacity: null });
  });
});
