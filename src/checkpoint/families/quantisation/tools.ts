// How GPTQ's and AWQ's tools, ModelOpt and MLX describe quantised weights.
import type { Form, Quantisation } from './form.js';
import { awq, gptq, type IntegerForm, type MlxForm, mlx } from './integers.js';
import { isObject, Keys } from './keys.js';
import { float4, float8 } from './small_floats.js';

/** GPTQ: all modules alike but for those that a pattern of `dynamic` names. */
export function gptqTool(description: unknown): Quantisation {
  const keys = new Keys('gptq', description);
  const format = keys.oneOf(['checkpoint_format', 'format'], 'gptq', 'gptq_v2');
  const whole = gptqForm(keys);
  keys.oneOf('pack_dtype', 'int32');
  const added = format === 'gptq' ? 1 : 0;
  const rules = keys.entries('dynamic').map(([pattern, changes]) => {
    const left = pattern.startsWith('-:');
    const is = keys.pattern('dynamic', pattern.replace(/^[-+]:/, ''));
    const of = () => gptq(gptqForm(new Keys('gptq', changes, 'dynamic'), whole), added);
    return { is, form: left ? undefined : of() };
  });
  const form = gptq(whole, added);
  return {
    formOf(module) {
      const rule = rules.find(({ is }) => is.test(module));
      return rule === undefined ? form : rule.form;
    },
  };
}

function gptqForm(keys: Keys, whole?: IntegerForm): IntegerForm {
  return {
    bits: whole && keys.get('bits') === undefined ? whole.bits : keys.given('bits', 4, 8),
    group: keys.group('group_size', whole && (whole.group || -1)),
    symmetric: keys.oneOf('sym', whole?.symmetric ?? true, true, false),
    ordered: keys.oneOf('desc_act', whole?.ordered ?? false, true, false),
  };
}

export function awqTool(description: unknown): Quantisation {
  const keys = new Keys('awq', description);
  const version = keys.get('version') ?? 'gemm';
  if (String(version).toLowerCase() !== 'gemm') throw keys.unknown('version', version);
  keys.given(['bits', 'w_bit'], 4);
  keys.oneOf('zero_point', true);
  const form = awq(keys.group(['group_size', 'q_group_size'], 128));
  const plain = keys.strings('modules_to_not_convert');
  return {
    formOf: (module) => (plain.some((part) => module.includes(part)) ? undefined : form),
  };
}

/**
 * AutoRound's layouts: GPTQ's, by what its zeros are larger than they are stored, and AWQ's. Where it names neither, as
 * for zeros of their own, they stand as they are.
 */
const autoRoundLayouts: Readonly<Record<string, 0 | 1 | 'awq'>> = {
  ...{ 'auto_round:auto_gptq': 1, 'auto_round:gptq': 1 },
  ...{ auto_round: 0, 'auto_round:gptqmodel': 0 },
  'auto_round:auto_awq': 'awq',
};

/** AutoRound; modules of 16 bits are left as they are. */
export function autoRoundTool(description: unknown): Quantisation {
  const method = 'auto-round';
  const keys = new Keys(method, description);
  const [first, ...others] = Object.keys(autoRoundLayouts) as [string, ...string[]];
  const layout = autoRoundLayouts[keys.given('packing_format', first, ...others)] as 0 | 1 | 'awq';
  const formIn = (of: Keys, byDefault?: IntegerForm) => {
    if (of.get('bits') === 16) return undefined;
    of.oneOf('data_type', 'int');
    const form = gptqForm(of, byDefault);
    if (layout !== 'awq') return gptq(form, layout);
    if (form.bits !== 4) throw of.unknown('bits', form.bits);
    return awq(form.group);
  };
  const whole = formIn(keys);
  const named = keys.entries('extra_config').map(([name, how]) => ({
    name,
    // A name is of one module; where there is none of it, a pattern that any part of a module's name may have.
    pattern: keys.anywhere('extra_config', name),
    form: formIn(new Keys(method, how, name), gptqForm(keys)),
  }));
  const byName = new Map(named.map((each) => [each.name, each]));
  const patterns = named.filter(({ name }) => !isModuleName(name));
  return {
    formOf(module) {
      const found = byName.get(module) ?? patterns.find(({ pattern }) => pattern.test(module));
      return found === undefined ? whole : found.form;
    },
  };
}

/** Whether a name has nothing that only patterns have. */
const isModuleName = (name: string): boolean => /^[\w.]+$/.test(name);

/** By ModelOpt's names. NVFP4 has a factor of all scales, which it multiplies. */
const modelOptForms: Readonly<Record<string, Form>> = {
  FP8: float8(0, 0),
  NVFP4: float4('.weight', 16, { ending: '.weight_scale_2', is: 'factor' }),
  W4A16_NVFP4: float4('.weight', 16, { ending: '.weight_scale_2', is: 'factor' }),
};

/** ModelOpt: all modules alike but for those that are excluded, or those that are listed. */
export function modelOpt(description: unknown): Quantisation {
  const outer = new Keys('modelopt', description);
  const inner = outer.get('quantization');
  const keys = isObject(inner) ? new Keys('modelopt', inner) : outer;
  const plain = keys.strings('exclude_modules', 'ignore').map(globOf);
  const isPlain = (module: string) => plain.some((glob) => glob.test(module));
  if (keys.get('quant_algo') !== 'MIXED_PRECISION') {
    const form = modelOptForm(keys);
    return { formOf: (module) => (isPlain(module) ? undefined : form) };
  }
  const listed = new Map(
    keys
      .entries('quantized_layers')
      .map(([module, how]) => [module, modelOptForm(new Keys('modelopt', how, module))]),
  );
  return { formOf: (module) => (isPlain(module) ? undefined : listed.get(module)) };
}

function modelOptForm(keys: Keys): Form {
  const algorithm = keys.get('quant_algo');
  const form = modelOptForms[String(algorithm)];
  if (form === undefined) throw keys.unknown('quant_algo', algorithm);
  if (String(algorithm).endsWith('NVFP4')) keys.oneOf('group_size', 16);
  return form;
}

/** A module by its name or by a part of the tree above it, in which `*` stands for any characters. */
function globOf(text: string): RegExp {
  const escaped = text.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}(\\..*)?$`);
}

/** MLX: all modules alike but for those that are named; `false` leaves one as it is. */
export function mlxTool(description: unknown): Quantisation {
  const keys = new Keys('MLX', description);
  const whole = mlxForm(keys);
  return {
    formOf(module) {
      const own = keys.get(module);
      if (own === undefined) return mlx(whole);
      return own === false ? undefined : mlx(mlxForm(new Keys('MLX', own, module)));
    },
  };
}

function mlxForm(keys: Keys): MlxForm {
  keys.oneOf('mode', 'affine');
  return { bits: keys.given('bits', 4, 2, 3, 5, 6, 8), group: keys.group('group_size') };
}
