import { MoEError } from '../base/errors.js';
import type { LayerInputs } from '../checkpoint/calibration.js';
import { SafetensorsFile } from '../checkpoint/containers/file.js';
import { shapeText, tensorIn } from '../checkpoint/containers/header.js';
import { floatValues } from '../layer/float_values.js';
import type { RouteOptions } from '../layer/forward.js';
import type { MoELayer } from '../layer/layer.js';
import type { Tensor } from '../layer/weights.js';

/** Rows of a recording: from `begin` to `end`, or to the last where there is no `end`. */
export interface TokenRange {
  begin: number;
  end: number | undefined;
}

/** Which tokens a layer is run on. */
export interface TokenIds {
  /** Name of the tensor of their ids; `{layer}` stands for the layer's number. */
  tokenIds: string | undefined;
  tokens: TokenRange;
}

const everyToken: TokenRange = { begin: 0, end: undefined };

/** A safetensors file of activations: what entered a model's layers, and what came out of them. */
export class Recording implements LayerInputs {
  readonly #file: SafetensorsFile;

  private constructor(file: SafetensorsFile) {
    this.#file = file;
  }

  static async open(path: string): Promise<Recording> {
    return new Recording(await SafetensorsFile.open(path));
  }

  get path(): string {
    return this.#file.path;
  }

  has(name: string): boolean {
    return this.#file.tensors.has(name);
  }

  /** Name of a layer's input: `pattern` if given, else `layers.{layer}.input`, else the file's only tensor. */
  inputName(layer: number, pattern?: string): string {
    const name = layerTensor('input', layer, pattern);
    const [only, ...others] = this.#file.tensors.keys();
    return pattern === undefined && only !== undefined && others.length === 0 ? only : name;
  }

  /** A `[T, width]` tensor of floats, cut to a range of tokens. */
  async rows(name: string, width: number, range: TokenRange): Promise<Tensor> {
    this.#checkShape(name, [width]);
    const { dtype, shape, data } = await this.#file.readTensor(name);
    const { begin, end } = this.#within(name, shape[0] ?? 0, range);
    return { dtype, shape: [end - begin, width], data: data.subarray(begin * width, end * width) };
  }

  /** A `[T, width]` tensor of 32-bit or 64-bit integers, cut to a range of tokens. */
  async integerRows(name: string, width: number, range: TokenRange): Promise<number[]> {
    this.#checkShape(name, [width]);
    return this.#integers(name, width, range);
  }

  checkInputs(layer: number, width: number): void {
    const name = layerTensor('input', layer);
    this.#checkShape(name, [width]);
    if (this.#file.entry(name).shape[0] === 0)
      throw this.#error(name, 'to have tokens to calibrate by', 'none');
  }

  async inputs(layer: number, width: number): Promise<Float32Array> {
    const name = layerTensor('input', layer);
    const rows = floatValues(await this.rows(name, width, everyToken));
    const wrong = rows.findIndex((value) => !Number.isFinite(value));
    if (wrong < 0) return rows;
    throw this.#error(
      name,
      'to hold numbers',
      `${rows[wrong]} in token ${Math.floor(wrong / width)}`,
    );
  }

  /** What a layer's `forward` and `route` take besides rows: ids of tokens, where it chooses by them. */
  async choosing(
    { expertTable }: Pick<MoELayer, 'expertTable'>,
    layer: number,
    { tokenIds = 'token_ids', tokens }: TokenIds = { tokenIds: undefined, tokens: everyToken },
  ): Promise<RouteOptions> {
    if (expertTable === undefined) return {};
    const name = layerTensor('token_ids', layer, tokenIds);
    this.#checkShape(name, []);
    const values = await this.#integers(name, 1, tokens);
    const wide = values.find((value) => value !== (value | 0));
    if (wide !== undefined) throw this.#error(name, 'to hold ids of 32 bits', String(wide));
    return { tokenIds: Int32Array.from(values) };
  }

  async #integers(name: string, width: number, range: TokenRange): Promise<number[]> {
    const { dtype, shape } = this.#file.entry(name);
    const { buffer } = await this.#file.readBytes(name);
    const { begin, end } = this.#within(name, shape[0] ?? 0, range);
    if (dtype === 'I64')
      return Array.from(new BigInt64Array(buffer), Number).slice(begin * width, end * width);
    if (dtype === 'I32')
      return Array.from(new Int32Array(buffer)).slice(begin * width, end * width);
    throw this.#error(name, 'to have type I32 or I64', dtype);
  }

  /** `inner`: the shape of what each token has. */
  #checkShape(name: string, inner: readonly number[]): void {
    if (!this.has(name)) {
      const names = [...this.#file.tensors.keys()].slice(0, 12).join(', ');
      throw this.#error(name, 'to be there', `a file with ${names || 'no tensors'}`);
    }
    const { shape } = this.#file.entry(name);
    if (shape.length !== 1 + inner.length || inner.some((size, axis) => shape[1 + axis] !== size))
      throw this.#error(
        name,
        `to have the shape [${['tokens', ...inner].join(', ')}]`,
        shapeText(shape),
      );
  }

  #within(
    name: string,
    tokens: number,
    { begin, end = tokens }: TokenRange,
  ): { begin: number; end: number } {
    if (begin <= end && end <= tokens) return { begin, end };
    throw this.#error(
      name,
      `to have tokens ${begin}:${end === tokens ? '' : end}`,
      `${tokens} tokens`,
    );
  }

  #error(name: string, expected: string, got: string): MoEError {
    return new MoEError(
      'ERR_MOE_SHAPE',
      `Expected ${tensorIn(this.path, name)} ${expected}, got ${got}`,
    );
  }
}

/** Name of what was recorded at a layer. In `pattern`, `{layer}` stands for the layer's number. */
export function layerTensor(
  role: string,
  layer: number,
  pattern = `layers.{layer}.${role}`,
): string {
  return pattern.replaceAll('{layer}', String(layer));
}
