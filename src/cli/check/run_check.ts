import type { DeviceName } from '../../binding/devices.js';
import { weightGroupsOf } from '../../binding/weight_formats.js';
import type { RoutedForwardResult } from '../../layer/forward.js';
import { MoELayer } from '../../layer/layer.js';
import type { LayerOptions, WeightType } from '../../layer/options.js';
import { layerOf } from './check_layer.js';
import type { Check } from './checks.js';

/** How a device did on one check. */
export interface Outcome {
  name: string;
  /** `refused`: the device says that it does not have this. */
  status: 'passed' | 'failed' | 'refused';
  weightType: WeightType;
  /** Norm of the difference to the CPU's output over the norm of that; null when there is none. */
  relativeError: number | null;
  tolerance: number;
  /** (token, choice) pairs for which the two chose different experts. */
  differentChoices: number;
  /** Median of three calls. */
  milliseconds: number | null;
  /** What went wrong, or what the device says of the layer. */
  notes: string[];
}

/** Of the norm of an output. Devices may round rows to the type of the weights, the CPU keeps float32. */
const tolerances: { [Type in WeightType]?: number } = { float32: 1e-5, float16: 5e-3 };
const toleranceOfOthers = 2e-2; // their rows are bfloat16
const toleranceOfInt8Rows = 5e-2;

/** The most exact type of weights that a device takes. */
export async function bestWeightType(device: DeviceName, check: Check): Promise<WeightType> {
  for (const weightType of ['float32', 'bfloat16'] as const) {
    try {
      await using _ = await MoELayer.create({ ...layerOf(check).options, device, weightType });
      return weightType;
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
  return 'float16';
}

/** Runs a check on a device and on the CPU. Does not throw: what happens is the outcome. */
export async function runCheck(
  device: DeviceName,
  check: Check,
  bestType: WeightType,
): Promise<Outcome> {
  const weightType = check.weightType ?? bestType;
  const tolerance =
    check.activationType === 'int8'
      ? toleranceOfInt8Rows
      : (tolerances[weightType] ?? toleranceOfOthers);
  const outcome = { name: check.name, weightType, tolerance };
  const nothing = { relativeError: null, differentChoices: 0, milliseconds: null };
  try {
    return { ...outcome, ...(await compared(device, check, weightType, tolerance)) };
  } catch (error) {
    const status = isRefusal(error) ? 'refused' : 'failed';
    return { ...outcome, ...nothing, status, notes: [(error as Error).message] };
  }
}

const isRefusal = (error: unknown) => (error as { code?: unknown }).code === 'ERR_MOE_CONFIG';

async function compared(
  device: DeviceName,
  check: Check,
  weightType: WeightType,
  tolerance: number,
): Promise<Omit<Outcome, 'name' | 'weightType' | 'tolerance'>> {
  const { options, hidden } = layerOf(check);
  // One scale per output is what every device has.
  const groups = weightGroupsOf(weightType);
  const types = { weightType, ...(groups.includes('all') && { weightGroup: 'all' as const }) };
  const { activationType } = check;
  await using layer = await MoELayer.create({ ...options, ...types, device, activationType });
  const result = await layer.forward(hidden, { routing: true });
  const milliseconds = await medianOf(3, () => layer.forward(hidden));
  const again = await layer.forward(hidden, { routing: true });
  const expected = await onCpu({ ...options, ...types }, hidden);

  const relativeError = relativeDifference(result.output, expected.output);
  const differentChoices = result.routing.expertIds.filter(
    (expert, slot) => expert !== expected.routing.expertIds[slot],
  ).length;
  const problems = [
    ...(relativeError <= tolerance ? [] : ['the output differs from the CPU']),
    ...(differentChoices === 0 ? [] : ['other experts were chosen than on the CPU']),
    ...(sameNumbers(result, expected) ? [] : ['loads, drops or losses differ from the CPU']),
    ...(same(result.output, again.output) ? [] : ['a second call gave other bits']),
  ];
  const status = problems.length === 0 ? 'passed' : 'failed';
  const ofDevice = layer.diagnostics.filter((note) => !layer.config.diagnostics.includes(note));
  const notes = [...problems, ...ofDevice];
  return { status, relativeError, differentChoices, milliseconds, notes };
}

/** The CPU has every type of weights, and keeps rows in float32. */
async function onCpu(options: LayerOptions, hidden: Float32Array): Promise<RoutedForwardResult> {
  await using layer = await MoELayer.create({ ...options, device: 'cpu' });
  return await layer.forward(hidden, { routing: true });
}

/** NaN where only one of the two is not a number. */
function relativeDifference(actual: Float32Array, expected: Float32Array): number {
  let squares = 0;
  let norm = 0;
  expected.forEach((value, i) => {
    const other = actual[i] as number;
    if (Number.isNaN(value) && Number.isNaN(other)) return;
    squares += (other - value) ** 2;
    norm += value ** 2;
  });
  return squares === 0 ? 0 : Math.sqrt(squares / norm);
}

function sameNumbers(actual: RoutedForwardResult, expected: RoutedForwardResult): boolean {
  const near = (a: number, b: number) => Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(b));
  return (
    same(actual.expertLoad, expected.expertLoad) &&
    actual.droppedChoices === expected.droppedChoices &&
    actual.capacity === expected.capacity &&
    near(actual.auxLoss, expected.auxLoss) &&
    near(actual.zLoss, expected.zLoss)
  );
}

const same = (a: Float32Array | Uint32Array, b: Float32Array | Uint32Array) =>
  a.every((value, i) => Object.is(value, b[i]));

async function medianOf(runs: number, work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[runs >> 1] as number;
}
