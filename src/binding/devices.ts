import { unexpected } from '../base/checks.js';
import { fromNative } from '../base/errors.js';
import { addon } from './addon.js';
import type { NativeDevice as Device } from './native.js';

export type { NativeDevice as Device, NativeHeldWeights as HeldWeights } from './native.js';

/** A family of devices. */
export type BackendName = 'ascend' | 'cuda' | 'cpu';

/** A device as options name it: a family, or one device of a family by its index. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | 'ascend' | `cuda:${number}` | `ascend:${number}`;

/** A family of devices: available with its devices, or not and why. */
export type DeviceInfo = AvailableDevices | UnavailableDevices;

/** A family that can run here. */
export interface AvailableDevices {
  /** The family. */
  name: BackendName;
  /** Tells the two kinds of `DeviceInfo` apart. */
  available: true;
  /** At least one. */
  devices: readonly Device[];
}

/** A family that cannot run here. */
export interface UnavailableDevices {
  /** The family. */
  name: BackendName;
  /** Tells the two kinds of `DeviceInfo` apart. */
  available: false;
  /** Why, for people: what is missing and where it was looked for. */
  reason: string;
}

/** Every family of devices this package knows, in the order in which `device: 'auto'` tries them. */
export function devices(): DeviceInfo[] {
  return addon()
    .devices()
    .map(({ name, reason, devices }) =>
      reason === '' ? { name, available: true, devices } : { name, available: false, reason },
    );
}

/** A family and an index. */
export interface ResolvedDevice {
  backend: BackendName;
  index: number;
}

/** Throws `ConfigError` unless the value names a device, there or not. */
export function expectDevice(name: string, value: unknown): asserts value is DeviceName {
  if (value !== 'auto' && parsed(value) === undefined)
    throw unexpected(name, "'auto', 'cpu', 'cuda', 'cuda:N', 'ascend' or 'ascend:N'", value);
}

/**
 * What a device option means here. `auto` is the first available family; a family or device that is named is taken as
 * it is, available or not: nothing falls back.
 */
export function resolveDevice(device: unknown = 'auto'): ResolvedDevice {
  expectDevice('device', device);
  return parsed(device) ?? { backend: firstAvailable(), index: 0 };
}

function parsed(device: unknown): ResolvedDevice | undefined {
  if (typeof device !== 'string') return undefined;
  const [, backend, index] = /^(?:(cpu|cuda|ascend)(?::(\d{1,4}))?)$/.exec(device) ?? [];
  if (backend === undefined || (backend === 'cpu' && index !== undefined)) return undefined;
  return { backend: backend as BackendName, index: Number(index ?? 0) };
}

function firstAvailable(): BackendName {
  try {
    return devices().find(({ available }) => available)?.name ?? 'cpu';
  } catch (error) {
    throw fromNative(error);
  }
}

/** What a device says of itself; undefined where it is not here. */
export function deviceAt(device: ResolvedDevice): Device | undefined {
  const family = devices().find(({ name }) => name === device.backend);
  return family?.available ? family.devices.find(({ index }) => index === device.index) : undefined;
}

/** `cpu`, or `cuda:0`. */
export function deviceText({ backend, index }: ResolvedDevice): DeviceName {
  return backend === 'cpu' ? 'cpu' : `${backend}:${index}`;
}
