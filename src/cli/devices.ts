import { availableParallelism, freemem, totalmem } from 'node:os';
import type { Command } from 'commander';
import {
  type DeviceInfo,
  type DeviceName,
  devices,
  deviceText,
  type HeldWeights,
  resolveDevice,
} from '../binding/devices.js';
import { checkDevices, describeChecks, failures } from './check/report.js';
import { deviceName, jsonFlag, print } from './options.js';
import { bold, bytes, facts } from './text.js';

export function addDevices(program: Command): void {
  program
    .command('devices')
    .description('what this machine can run on, with which kernels, and why not where it cannot')
    .option(
      '--check [device]',
      'compare every device that is not the CPU, or this one, with the CPU, and print a report to send back',
      deviceName,
    )
    .option(...jsonFlag)
    .action(async ({ json, check }: { json?: true; check?: true | DeviceName }) => {
      if (check !== undefined) return checkAndPrint(check === true ? undefined : check, json);
      const backends = devices();
      print(json, { host: host(), backends }, () =>
        [...backends.map(describe), describeHost()].join('\n\n'),
      );
    });
}

async function checkAndPrint(
  device: DeviceName | undefined,
  json: true | undefined,
): Promise<void> {
  const report = await checkDevices(
    device === undefined ? undefined : deviceText(resolveDevice(device)),
  );
  print(json, report, () => describeChecks(report));
  const failed = failures(report);
  if (failed === undefined)
    throw new Error(
      `there is no device to check${device === undefined ? '' : ` called ${device}`}`,
    );
  if (failed > 0) throw new Error(`${failed === 1 ? 'a check' : `${failed} checks`} failed`);
}

function host() {
  return {
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    threads: availableParallelism(),
    memoryBytes: totalmem(),
    freeMemoryBytes: freemem(),
    forcedKernels: process.env['MOE_CPU_ISA'] ?? null,
  };
}

function describe(info: DeviceInfo): string {
  if (!info.available) return `${bold(info.name)}\n${facts([['not available', info.reason]])}`;
  const blocks = info.devices.map((device) =>
    facts([
      [
        'device',
        `${deviceText({ backend: info.name, index: device.index })}  ${device.name}${device.emulated ? ' (emulated)' : ''}`,
      ],
      ['kernels', device.kernels],
      ['threads', String(device.threads)],
      ['memory', bytes(device.memoryBytes)],
      ['weights', device.weights.map(heldText).join('; ')],
    ]),
  );
  return [bold(info.name), ...blocks].join('\n');
}

/** `int8 in groups of 32, 64, 128, all, rows in bfloat16, int8` */
function heldText({ type, groups, activationTypes }: HeldWeights): string {
  const scales = groups.join(', ');
  const rows = activationTypes.filter((rows) => rows !== 'float').join(', ');
  return `${type}${scales && ` in groups of ${scales}`}${rows && `, rows in ${rows}`}`;
}

function describeHost(): string {
  const { platform, node, threads, memoryBytes, freeMemoryBytes } = host();
  return [
    bold('host'),
    facts([
      ['platform', `${platform}, Node ${node}`],
      ['threads', String(threads)],
      ['memory', `${bytes(memoryBytes)}, ${bytes(freeMemoryBytes)} free`],
    ]),
  ].join('\n');
}
