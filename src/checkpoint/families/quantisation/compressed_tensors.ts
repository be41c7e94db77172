import type { Form, Quantisation } from './form.js';
import { packed, signedBytes } from './integers.js';
import { Keys } from './keys.js';
import { float4, float8 } from './small_floats.js';

/** compressed-tensors: groups of modules, each quantised in its way. */
export function compressedTensors(description: unknown): Quantisation {
  const method = 'compressed-tensors';
  const keys = new Keys(method, description);
  const format = keys.get('format');
  const groups = keys.entries('config_groups').map(([name, group]) => {
    const of = new Keys(method, group, name);
    const targets = of.strings('targets').map((target) => matcherOf(of, 'targets', target));
    const weights = of.get('weights');
    return {
      targets,
      form:
        weights === undefined
          ? undefined
          : formOf(keys, of.get('format') ?? format, new Keys(method, weights, 'weights')),
    };
  });
  const ignored = keys.strings('ignore').map((name) => matcherOf(keys, 'ignore', name));
  // What names a module comes before what names its class.
  const chosen = (module: string) =>
    groups.find(({ targets }) => targets.some((target) => target?.(module))) ??
    groups.find(({ targets }) => targets.includes(undefined));
  return {
    formOf: (module) => (ignored.some((isIt) => isIt?.(module)) ? undefined : chosen(module)?.form),
  };
}

/** What tells whether a module is meant; undefined for a class, of which all quantised modules are. */
function matcherOf(keys: Keys, key: string, target: string) {
  if (target.startsWith('re:')) {
    const pattern = keys.pattern(key, target.slice(3));
    return (module: string) => pattern.test(module);
  }
  return /^[A-Z]\w*$/.test(target) ? undefined : (module: string) => module === target;
}

/** @param outer for messages about the format, which may stand there for all groups */
function formOf(outer: Keys, format: unknown, weights: Keys): Form {
  const strategy = weights.get('strategy') ?? strategyBy(weights.get('group_size'));
  const unknownStrategy = () => weights.unknown('strategy', strategy);
  const groupOf = () => {
    if (strategy === 'channel') return 0;
    if (strategy === 'group') return weights.group('group_size');
    throw unknownStrategy();
  };
  switch (format) {
    case 'pack-quantized':
      weights.given('type', 'int');
      return packed({
        bits: weights.given('num_bits', 4, 8),
        group: groupOf(),
        symmetric: weights.oneOf('symmetric', true, false),
        ordered: isOrdered(weights),
      });
    case 'int-quantized':
      weights.given('type', 'int');
      weights.given('num_bits', 8);
      return signedBytes(
        strategy === 'tensor' ? 0 : groupOf(),
        weights.oneOf('symmetric', true, false),
        strategy === 'tensor',
      );
    case 'float-quantized':
      weights.given('type', 'float');
      weights.given('num_bits', 8);
      if (strategy === 'tensor') return float8(0, 0);
      return strategy === 'block' ? float8(...blockOf(weights)) : float8(1, groupOf());
    case 'nvfp4-pack-quantized':
      weights.given('type', 'float');
      weights.given('num_bits', 4);
      weights.oneOf('group_size', 16);
      return float4('.weight_packed', 16, { ending: '.weight_global_scale', is: 'divisor' });
    case 'mxfp4-pack-quantized':
      weights.given('type', 'float');
      weights.given('num_bits', 4);
      weights.oneOf('group_size', 32);
      return float4('.weight_packed', 32, undefined);
    default:
      throw outer.unknown('format', format);
  }
}

/** What is meant where only the size of groups is said. */
function strategyBy(group: unknown): string {
  if (group === undefined) return 'tensor';
  return group === -1 ? 'channel' : 'group';
}

/** Groups of inputs by their activations have an order of their own; other orders are undone in the file. */
function isOrdered(weights: Keys): boolean {
  const order = weights.oneOf<string | boolean>(
    'actorder',
    false,
    true,
    'group',
    'weight',
    'static',
  );
  return order === true || order === 'group';
}

function blockOf(weights: Keys): [number, number] {
  const value = weights.get('block_structure');
  const sizes = typeof value === 'string' ? value.split('x').map(Number) : value;
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) > 0;
  if (!Array.isArray(sizes) || sizes.length !== 2 || !sizes.every(isSize))
    throw weights.unknown('block_structure', value);
  return sizes as [number, number];
}
