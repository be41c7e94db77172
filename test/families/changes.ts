// What tests change of a checkpoint, one thing at a time.
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import type { Config } from './fixture.js';
import { E } from './random.js';

/** Values that change something where one more or half as much does not: gpt-oss' rows do not come near its limit of 7. */
export const otherValues: Readonly<Record<string, unknown>> = {
  moe_eval_capacity_token_fraction: 0.5,
  swiglu_limit: 0.25,
};

/** Another value of the same kind. */
export function otherThan(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(otherThan);
  if (value === null) return 1;
  if (typeof value === 'number') return Number.isInteger(value) ? value + 1 : value / 2;
  if (typeof value === 'boolean') return !value;
  return 'something else';
}

export type Path = readonly string[];

/** Paths of the config's values. A list is one. */
export function pathsOf(config: Config, above: Path = []): Path[] {
  return Object.entries(config).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? pathsOf(value as Config, [...above, key])
      : [[...above, key]],
  );
}

export const valueAt = (config: Config, path: Path): unknown =>
  path.reduce<unknown>((value, key) => (value as Config)[key], config);

/** The config with another value there; undefined leaves the key out. */
export function changedAt(config: Config, [key, ...rest]: Path, value: unknown): Config {
  if (key === undefined) return config;
  const inner = rest.length > 0 ? changedAt(config[key] as Config, rest, value) : value;
  return { ...config, [key]: inner };
}

/** A tensor with another element in its middle. */
export function changed({ dtype, shape, data }: TensorToWrite, place: number): TensorToWrite {
  if (data instanceof BigInt64Array) {
    const values = data.slice();
    values[place] = ((values[place] as bigint) + 1n) % BigInt(E);
    return { dtype, shape, data: values };
  }
  const values = (data as Float32Array).slice();
  values[place] = (values[place] as number) + 0.75;
  return { dtype, shape, data: values };
}
