import { floatType } from '../../containers/dtype.js';
import type { TensorEntry } from '../../containers/header.js';
import type { Form } from './form.js';
import { otherForms } from './keys.js';

/** A module whose matrix is quantised. */
export interface QuantisedModule {
  readonly name: string;
  readonly form: Form;
}

/** Codes of weights, by what their tensors are called. */
const codes = /^(.*)(\.(?:weight|weight_packed|qweight))$/;

/**
 * The quantised modules among some tensors: those whose tensors are what their description says. By
 * the names that their weights would have as floats.
 */
export function quantisedModules(
  tensors: Iterable<readonly [name: string, Pick<TensorEntry, 'dtype'>]>,
  formOf: (module: string) => Form | undefined,
): Map<string, QuantisedModule> {
  const modules = new Map<string, QuantisedModule>();
  for (const [tensor, { dtype }] of tensors) {
    const [, name, ending] = codes.exec(tensor) ?? [];
    if (name === undefined || floatType(dtype) !== undefined) continue;
    const form = formOf(name);
    if (form !== undefined && form.codes === ending) modules.set(`${name}.weight`, { name, form });
  }
  return modules;
}

/** Endings of tensors that belong to weights in a form no layer can be made of, or not without a description of it. */
const forms: readonly [ending: string, form: string, needs?: 'description'][] = [
  ['.qweight', 'GPTQ or AWQ', 'description'],
  ['.weight_packed', 'compressed-tensors, packed', 'description'],
  ['.weight_scale_2', 'NVFP4', 'description'],
  ['.biases', 'MLX, affine', 'description'],
  ['.absmax', 'bitsandbytes, 4 bits'],
  ['.SCB', 'bitsandbytes, 8 bits'],
];

/** What is wrong with a tensor of weights in a form that is not read; undefined where nothing is. */
export function unreadForm(
  tensor: string,
  modules: ReadonlyMap<string, QuantisedModule>,
): string | undefined {
  for (const [ending, form, needs] of forms) {
    if (!tensor.endsWith(ending)) continue;
    if (needs === undefined)
      return `weights of the form "${form}" are not supported: ${otherForms}`;
    if (!modules.has(`${tensor.slice(0, -ending.length)}.weight`))
      return `weights of the form "${form}" are not supported where no config says that they are of it`;
  }
  return undefined;
}
