import { join } from 'node:path';
import { describe } from '../base/checks.js';
import { CheckpointError, ConfigError } from '../base/errors.js';
import { expectKnownModel } from '../config/hugging_face.js';
import { kindOf, readText } from './containers/disk.js';
import { floatType } from './containers/dtype.js';
import type { TensorEntry } from './containers/header.js';
import type { TensorFiles } from './containers/tensor_files.js';
import type { Quantisation } from './families/quantisation/form.js';
import { otherForms, UnknownForm } from './families/quantisation/keys.js';
import { readQuantisation, supportedQuantisations } from './families/quantisation/read.js';

export const configName = 'config.json';
/** Every file that a checkpoint is read from. */
export const allFiles = ({ paths, folder }: Pick<TensorFiles, 'paths' | 'folder'>): string[] => [
  ...paths,
  join(folder, configName),
];

const maxConfigBytes = 16 << 20;

type Json = Readonly<Record<string, unknown>>;

/** Where quantising tools describe what they did: file, the description in it, and the method where it names none. */
const descriptions: readonly [file: string, of: (json: Json) => unknown, byDefault: string][] = [
  [configName, (json) => json.quantization, 'MLX'],
  [configName, (json) => json.quantization_config ?? json.compression_config, 'unknown'],
  [configName, (json) => (json.text_config as Json | null)?.quantization_config, 'unknown'],
  ['hf_quant_config.json', (json) => json.quantization, 'modelopt'],
  ['quantize_config.json', (json) => json, 'gptq'],
  ['quant_config.json', (json) => json, 'awq'],
];

/**
 * What the files beside a checkpoint's tensors say that it is. It comes before what the tensors lack: a checkpoint of a
 * kind that is not read is refused by the name of its kind.
 */
export class ModelClaims {
  readonly configPath: string;
  /** The parsed `config.json`; undefined without one. */
  readonly config: object | undefined;
  /** How weights are quantised, where something says it. */
  readonly quantisation: Quantisation | undefined;
  /** Present where the checkpoint says that its weights are in a form that is not read. */
  readonly #refusal: CheckpointError | undefined;

  private constructor(
    configPath: string,
    config: object | undefined,
    { quantisation, refusal }: Described = {},
  ) {
    this.configPath = configPath;
    this.config = config;
    this.quantisation = quantisation;
    this.#refusal = refusal;
  }

  /**
   * @param said the config of a file that says what it is by itself
   * @throws `CheckpointError` for a file that is no JSON object, `ConfigError` for a model type that is not known
   */
  static async read(folder: string, said?: object): Promise<ModelClaims> {
    const configPath = join(folder, configName);
    if (said !== undefined) return new ModelClaims(configPath, said);
    const files = new Map<string, Json | undefined>();
    for (const [name] of descriptions)
      if (!files.has(name)) files.set(name, await readObject(join(folder, name)));
    const config = files.get(configName);
    if (config !== undefined && !isMindFormers(config))
      inConfig(configPath, () => expectKnownModel(config));
    for (const [name, of, byDefault] of descriptions) {
      const json = files.get(name);
      const description = json && of(json);
      if (description !== undefined && description !== null)
        return new ModelClaims(
          configPath,
          config,
          described(join(folder, name), description, byDefault),
        );
    }
    return new ModelClaims(configPath, config);
  }

  /** What `find` finds. Where it throws and the weights are in a form that is not read, that is the error. */
  find<T>(find: () => T): T {
    try {
      return find();
    } catch (error) {
      throw this.#refusal ?? error;
    }
  }

  /**
   * Throws `CheckpointError` where the weights are in a form that is not read. Where all of a layer's tensors are floats
   * the form is that of other layers or parts.
   */
  expectReadable(layer: Iterable<TensorEntry>): void {
    if (this.#refusal === undefined) return;
    for (const { dtype } of layer) if (floatType(dtype) === undefined) throw this.#refusal;
  }
}

type Described = { quantisation?: Quantisation; refusal?: CheckpointError };

function described(path: string, description: unknown, byDefault: string): Described {
  try {
    return { quantisation: readQuantisation(description, byDefault) };
  } catch (error) {
    if (!(error instanceof UnknownForm)) throw error;
    const refusal = new CheckpointError(
      `Expected weights that are not quantised or as ${supportedQuantisations}, got \`${error.form}\`, as ${path} says: ` +
        `this form is not supported: ${otherForms}`,
    );
    return { refusal };
  }
}

/** A MindFormers config says nothing of sizes: those are the tensors'. */
export function isMindFormers(config: object): boolean {
  return 'moe_config' in config || !('model_type' in config);
}

/** What `read` returns; its `ConfigError`s name the file. */
export function inConfig<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`${path}: ${error.message}`, { cause: error });
  }
}

/** A JSON object; undefined where the file is missing. */
export async function readObject(path: string): Promise<Json | undefined> {
  if ((await kindOf(path)) === 'missing') return undefined;
  const text = await readText(path, maxConfigBytes);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`Expected ${path} to be JSON: ${(cause as Error).message}`, {
      cause,
    });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new CheckpointError(`Expected ${path} to hold an object, got ${describe(parsed)}`);
  return parsed as Json;
}
