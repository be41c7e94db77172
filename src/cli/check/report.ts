import { packageVersion } from '../../base/package.js';
import { type DeviceInfo, type DeviceName, devices, deviceText } from '../../binding/devices.js';
import { ProgressLine } from '../progress.js';
import { bold, dim, errorText, facts, milliseconds, table } from '../text.js';
import { checks } from './checks.js';
import { bestWeightType, type Outcome, runCheck } from './run_check.js';

/** How a device did on all checks. */
export interface DeviceReport {
  device: DeviceName;
  name: string;
  kernels: string;
  emulated: boolean;
  outcomes: Outcome[];
}

/** What `devices --check` found. */
export interface CheckReport {
  version: string;
  platform: string;
  node: string;
  /** Variables that decide which libraries and kernels are used. */
  environment: Record<string, string>;
  devices: DeviceReport[];
  /** Families that cannot run here, and why. */
  unavailable: Record<string, string>;
}

const variables = /^(MOE_|ASCEND_|CANN_|CUDA_VISIBLE_DEVICES$|HCCL_|NVIDIA_VISIBLE_DEVICES$)/;

/** Runs every check on one device, or on every device that is not the CPU. */
export async function checkDevices(only: DeviceName | undefined): Promise<CheckReport> {
  const families = devices();
  const found = families.flatMap(devicesOf).filter(({ device }) => (only ?? device) === device);
  const reports: DeviceReport[] = [];
  for (const device of found)
    reports.push({ ...device, outcomes: await outcomesOf(device.device) });
  const variablesSet = Object.entries(process.env).filter(([name]) => variables.test(name));
  return {
    version: packageVersion,
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    environment: Object.fromEntries(variablesSet) as Record<string, string>,
    devices: reports,
    unavailable: Object.fromEntries(
      families.flatMap((family) => (family.available ? [] : [[family.name, family.reason]])),
    ),
  };
}

function devicesOf(family: DeviceInfo): Omit<DeviceReport, 'outcomes'>[] {
  if (!family.available || family.name === 'cpu') return [];
  return family.devices.map(({ index, name, kernels, emulated }) => {
    const device = deviceText({ backend: family.name, index });
    return { device, name, kernels, emulated };
  });
}

async function outcomesOf(device: DeviceName): Promise<Outcome[]> {
  const progress = new ProgressLine(`checking ${device}`);
  try {
    const outcomes: Outcome[] = [];
    const [first] = checks;
    const bestType = first === undefined ? 'float32' : await bestWeightType(device, first);
    for (const check of checks) {
      outcomes.push(await runCheck(device, check, bestType));
      progress.update(outcomes.length, checks.length);
    }
    return outcomes;
  } finally {
    progress.end();
  }
}

/** Checks that failed, or undefined when nothing could be checked. */
export function failures({ devices }: CheckReport): number | undefined {
  if (devices.length === 0) return undefined;
  return devices.flatMap(({ outcomes }) => outcomes).filter(({ status }) => status === 'failed')
    .length;
}

/** The report as a person reads it, and sends it back. */
export function describeChecks(report: CheckReport): string {
  const { version, platform, node, environment, unavailable } = report;
  const environmentFacts = [
    ['node-moe', `${version}, ${platform}, Node ${node}`] as const,
    ...Object.entries(environment),
    ...Object.entries(unavailable).map(
      ([name, reason]) => [name, `not available: ${reason}`] as const,
    ),
  ];
  return [bold('Report'), facts(environmentFacts), ...report.devices.map(describeDevice)].join(
    '\n\n',
  );
}

function describeDevice({ device, name, kernels, emulated, outcomes }: DeviceReport): string {
  const rows = outcomes.map((outcome) => [
    outcome.name,
    outcome.status,
    outcome.weightType,
    outcome.relativeError === null ? '' : errorText(outcome.relativeError),
    errorText(outcome.tolerance),
    outcome.milliseconds === null ? '' : milliseconds(outcome.milliseconds),
  ]);
  const columns = [
    { title: 'check', align: 'left' },
    { title: 'result', align: 'left' },
    { title: 'weights', align: 'left' },
    { title: 'error' },
    { title: 'allowed' },
    { title: 'median' },
  ] as const;
  const notes = notesOf(outcomes);
  const counted = (status: Outcome['status']) =>
    `${outcomes.filter((outcome) => outcome.status === status).length} ${status}`;
  return [
    bold(`${device}  ${name}${emulated ? ' (emulated)' : ''}`),
    `  ${kernels}`,
    table(columns, rows),
    ...(notes === '' ? [] : [notes]),
    `  ${counted('passed')}, ${counted('failed')}, ${counted('refused')} as not supported`,
  ].join('\n\n');
}

/** Each note with the checks it belongs to. */
function notesOf(outcomes: readonly Outcome[]): string {
  const checksOf = new Map<string, string[]>();
  for (const { name, notes } of outcomes)
    for (const note of notes) checksOf.set(note, [...(checksOf.get(note) ?? []), name]);
  return [...checksOf].map(([note, names]) => `  ${note}\n    ${dim(names.join(', '))}`).join('\n');
}
