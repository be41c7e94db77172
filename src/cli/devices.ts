import { availableParallelism, freemem, totalmem } from 'node:os';
import type { Command } from 'commander';
import { type DeviceInfo, devices, deviceText } from '../devices.js';
import { jsonOption, print } from './options.js';
import { bold, bytes, facts } from './text.js';

export function addDevices(program: Command): void {
  program
    .command('devices')
    .description('what this machine can run on, with which kernels, and why not where it cannot')
    .addOption(jsonOption())
    .action(({ json }: { json?: true }) => {
      const backends = devices();
      print(json, { host: host(), backends }, () =>
        [...backends.map(describe), describeHost()].join('\n\n'),
      );
    });
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
  if (!info.available) return `${bold(info.name)}\n  not available: ${info.reason}`;
  const blocks = info.devices.map((device) =>
    facts([
      [
        'device',
        `${deviceText({ backend: info.name, index: device.index })}  ${device.name}${device.emulated ? ' (emulated)' : ''}`,
      ],
      ['kernels', device.kernels],
      ['threads', String(device.threads)],
      ['memory', bytes(device.memoryBytes)],
    ]),
  );
  return [bold(info.name), ...blocks].join('\n');
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
