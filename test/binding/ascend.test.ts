import { beforeAll, describe, expect, test } from 'vitest';
import { type DType, type LayerOptions, MoEConfig, MoELayer } from '../../src/index.js';
import { type Case, cases, rounded, seeded, withWeights } from '../cases.js';
import { layerReference, type ReferenceResult, relativeError } from '../reference/layer.js';
import {
  AscendProcess,
  type Outcome,
  type Profile,
  type Result,
  simulatedCann,
} from '../support/ascend.js';
import { expectReference } from '../support/expect_reference.js';

const profiles: readonly (Profile & { weightTypes: readonly DType[] })[] = [
  { soc: 'Ascend910B1', cann: '8.1', weightTypes: ['float32', 'bfloat16'] },
  { soc: 'Ascend910_9391', cann: '8.5', weightTypes: ['float32', 'float16'] },
  { soc: 'Ascend910B4', cann: '9.1', weightTypes: ['bfloat16'] },
  { soc: 'Ascend310P3', cann: '9.1', weightTypes: ['float16'] },
];
/** Activations between the matrix products are held in the type of the weights. */
const tolerances = { float32: 1e-5, float16: 2e-3, bfloat16: 1.5e-2 };

const references = new Map<string, ReferenceResult>();

/** What the layer gives in float64; chips share it. */
function referenceOf(shape: Case, type: DType, stored: LayerOptions, hidden: Float32Array) {
  const key = `${shape.name} ${shape.seed} ${type}`;
  const known = references.get(key);
  if (known !== undefined) return known;
  const made = layerReference(new MoEConfig(stored.config), stored, hidden);
  references.set(key, made);
  return made;
}

/** False where two experts are so close that rounding may decide either way. */
async function check(ascend: AscendProcess, shape: Case, type: DType): Promise<boolean> {
  const { options, hidden } = seeded(shape);
  const stored = withWeights(options, (tensor) => rounded(tensor, type));
  const expected = referenceOf(shape, type, stored, hidden);
  if (expected.margin < 1e-5) return false;
  const actual = succeeded(await ascend.forward({ ...stored, weightType: type }, hidden));
  expect(actual.device).toBe('ascend:0');
  expectReference(actual, expected, tolerances[type]);
  return true;
}

function succeeded(outcome: Outcome): Result {
  if ('message' in outcome) throw new Error(outcome.message);
  return outcome;
}

describe.skipIf(simulatedCann('8.1') === undefined)(
  'on simulated Ascend devices (skipped where `npm run test:native` has not built the simulator)',
  () => {
    describe.each(profiles)('$soc with CANN $cann', ({ soc, cann, weightTypes }) => {
      let ascend: AscendProcess;
      beforeAll(() => {
        ascend = new AscendProcess({ soc, cann });
      });

      test('says that it is simulated', async () => {
        expect(await ascend.devices()).toMatchObject({
          available: true,
          devices: [
            { index: 0, emulated: true, name: expect.stringContaining(soc) },
            { index: 1, emulated: true },
          ],
        });
      });

      const every = weightTypes.flatMap((weightType) =>
        cases.map((shape) => [shape.name, weightType, shape] as const),
      );
      test.each(every)('%s, %s weights', async (_, weightType, shape) => {
        let seed = 1;
        while (!(await check(ascend, { ...shape, seed }, weightType)))
          expect(++seed).toBeLessThan(20);
      });

      test('NaN and infinity stay in their token', async () => {
        const [T, H] = [9, 64];
        const { options, hidden } = seeded({ name: '', T, H, I: 32, E: 6, K: 2 });
        const layer = { ...options, weightType: weightTypes[0] };
        const clean = succeeded(await ascend.forward(layer, hidden));
        const damaged = hidden.slice();
        damaged[3 * H + 5] = Number.NaN;
        damaged[7 * H] = Infinity;
        // The host routes such a batch: its weights may differ from the device's in the last bit.
        const { output, routing } = succeeded(await ascend.forward(layer, damaged));
        for (let t = 0; t < T; t++) {
          const token = output.slice(t * H, (t + 1) * H);
          if (t === 3 || t === 7) expect(token.every(Number.isNaN)).toBe(true);
          else
            expect(relativeError(token, [...clean.output.slice(t * H, (t + 1) * H)])).toBeLessThan(
              1e-6,
            );
        }
        expect([...routing.expertIds.slice(6, 8)]).toEqual([-1, -1]);
      });

      test('layers on two devices, made and run at once, give what they give alone', async () => {
        const layers = [1, 2, 3, 4].map((seed) =>
          seeded({ name: '', T: 10 + seed, H: 64, I: 32, E: 6, K: 2, seed }),
        );
        const run = ({ options, hidden }: (typeof layers)[0], index: number) =>
          ascend.forward({ ...options, weightType: weightTypes[0] }, hidden, `ascend:${index % 2}`);
        const together = await Promise.all(layers.map(run));
        for (const [index, layer] of layers.entries())
          expect(together[index]).toEqual(succeeded(await run(layer, index)));
      });

      test.skipIf(soc === 'Ascend310P3')(
        'int8 weights (a 310P holds none) are those of the CPU',
        async () => {
          const { options, hidden } = seeded({ name: '', T: 11, H: 70, I: 45, E: 5, K: 2 });
          const quantized = { ...options, weightType: 'int8', weightGroup: 'all' } as const;
          await using cpu = await MoELayer.create({ ...quantized, device: 'cpu' });
          const expected = await cpu.forward(hidden);
          const actual = succeeded(await ascend.forward(quantized, hidden));
          expect(relativeError(actual.output, [...expected.output]) <= 1.5e-2).toBe(true);
          const whole = { ...quantized, activationType: 'int8' } as const;
          const rows = succeeded(await ascend.forward(whole, hidden));
          const error = relativeError(rows.output, [...expected.output]);
          expect(error > 0 && error <= 3e-2).toBe(true);
        },
      );

      test('broke no rule of CANN and gave everything back', async () => {
        expect(await ascend.close()).toBe('');
      });
    });

    describe('a failure is an error of its own, breaks no rule, leaks nothing, and the process lives', () => {
      const { options, hidden } = seeded({ name: '', T: 11, H: 64, I: 32, E: 5, K: 2 });
      const a2 = { soc: 'Ascend910B1', cann: '8.5' } as const;

      test.each<[string, Record<string, string>, string]>([
        [
          'no pinned memory',
          { ASCEND_SIM_FAIL: 'aclrtMallocHost:1:200000' },
          'ERR_MOE_OUT_OF_MEMORY',
        ],
        ['a chip without memory', { ASCEND_SIM_MEMORY: '20000' }, 'ERR_MOE_OUT_OF_MEMORY'],
        ...[1, 2, 5, 9].map((nth): [string, Record<string, string>, string] => [
          `no memory at the ${nth}. allocation`,
          { ASCEND_SIM_FAIL: `aclrtMalloc:${nth}:200000` },
          'ERR_MOE_OUT_OF_MEMORY',
        ]),
        ...[
          ['aclrtSetDevice', 507033],
          ['aclrtCreateStream', 500003],
          ['aclrtMemcpyAsync', 500003],
          ['aclrtSynchronizeStream', 500003],
          ['aclnnGroupedMatmulV5GetWorkspaceSize', 561002],
          ['aclnnGroupedMatmulV5', 361001],
          ['aclnnMoeInitRoutingV3', 561000],
          ['aclnnMoeFinalizeRoutingV2', 361001],
        ].map(([call, code]): [string, Record<string, string>, string] => [
          `${call} fails`,
          { ASCEND_SIM_FAIL: `${call}:1:${code}` },
          'ERR_MOE_DEVICE',
        ]),
        ...[1, 5, 20].map((nth): [string, Record<string, string>, string] => [
          `the device is lost at its ${nth}. task`,
          { ASCEND_SIM_LOST_AT: `${nth}` },
          'ERR_MOE_DEVICE_LOST',
        ]),
      ])('%s', async (_, env, code) => {
        const ascend = new AscendProcess(a2, env);
        const outcome = await ascend.forward(options, hidden);
        const report = await ascend.close();
        expect(outcome).toHaveProperty('code');
        expect('code' in outcome && outcome.code).toMatch(new RegExp(`^${code}`));
        expect(report).toBe('');
      });

      test('after one failure the next call works', async () => {
        const ascend = new AscendProcess(a2, { ASCEND_SIM_FAIL: 'aclnnGroupedMatmulV5:2:361001' });
        expect(await ascend.forward(options, hidden)).toHaveProperty('code');
        succeeded(await ascend.forward(options, hidden));
        expect(await ascend.close()).toBe('');
      });
    });
  },
);

test('without CANN the reason names the libraries that were looked for', async () => {
  const ascend = new AscendProcess({ soc: 'none', cann: '8.5' }, { ASCEND_HOME_PATH: '/nowhere' });
  const info = await ascend.devices();
  expect(info).toMatchObject({
    available: false,
    reason: expect.stringMatching(/libacl_rt\.so|libascendcl\.so/),
  });
});
