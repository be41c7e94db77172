// How families name a block's weights and lay them out: pieces that fixtures put together.
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import type { Block } from './reference/block.js';
import type { Expert } from './reference/experts.js';
import type { Matrix, Vector } from './reference/numbers.js';

export type Tensors = Record<string, TensorToWrite>;
/** A block's tensors by their names inside the layer. */
export type Spelling = (block: Block, layer: number) => Tensors;

export const float32 = (shape: readonly number[], values: Vector): TensorToWrite => ({
  dtype: 'F32',
  shape,
  data: Float32Array.from(values),
});

export const vector = (values: Vector): TensorToWrite => float32([values.length], values);
export const matrix = (rows: Matrix): TensorToWrite =>
  float32([rows.length, rows[0]?.length ?? 0], rows.flat());
export const stack = (matrices: readonly Matrix[]): TensorToWrite =>
  float32(
    [matrices.length, matrices[0]?.length ?? 0, matrices[0]?.[0]?.length ?? 0],
    matrices.flat(2),
  );

/** A table of whole numbers, as PyTorch keeps indices. */
export const table = (rows: readonly Vector[]): TensorToWrite => ({
  dtype: 'I64',
  shape: [rows.length, rows[0]?.length ?? 0],
  data: BigInt64Array.from(rows.flat().map(BigInt)),
});

export const transposed = (rows: Matrix): Matrix =>
  (rows[0] ?? []).map((_, col) => rows.map((row) => row[col] as number));
export const interleaved = (a: Matrix, b: Matrix): Matrix =>
  a.flatMap((row, i) => [row, b[i] as Vector]);

export const gateOf = ({ gate }: Expert): Matrix => {
  if (gate === undefined) throw new Error('an expert without a gate');
  return gate;
};
const given = (values: Vector | undefined): Vector => {
  if (values === undefined) throw new Error('a block without a vector that its spelling has');
  return values;
};

export type Names = readonly [gate: string, up: string, down: string];
export const projections: Names = ['gate_proj', 'up_proj', 'down_proj'];
export const numbered: Names = ['w1', 'w3', 'w2'];

/** One expert, a tensor for each matrix. */
export function oneExpert(prefix: string, [gate, up, down]: Names, expert: Expert): Tensors {
  return {
    ...(expert.gate && { [`${prefix}${gate}.weight`]: matrix(expert.gate) }),
    [`${prefix}${up}.weight`]: matrix(expert.up),
    [`${prefix}${down}.weight`]: matrix(expert.down),
  };
}

/** Joins what several spellings say. */
export const joined =
  (...spellings: Spelling[]): Spelling =>
  (block, layer) =>
    Object.assign({}, ...spellings.map((spelling) => spelling(block, layer)));

export const router =
  (name: string): Spelling =>
  (block) => ({ [name]: matrix(block.router.weight) });

/** The bias for the choice. */
export const choiceBias =
  (name: string): Spelling =>
  (block) => ({ [name]: vector(given(block.router.choiceBias)) });

export const logitBias =
  (name: string): Spelling =>
  (block) => ({ [name]: vector(given(block.router.logitBias)) });

/** Experts one by one; `{e}` in the prefix is their number. */
export const perExpert =
  (prefix: string, names: Names = projections): Spelling =>
  ({ experts }) =>
    Object.assign(
      {},
      ...experts.map((expert, e) => oneExpert(prefix.replace('{e}', String(e)), names, expert)),
    );

/** The ways in which gate and up of all experts are one tensor. */
export interface Fusion {
  gateUp: string;
  down: string;
  /** `[E, in, out]`. */
  turned?: boolean;
  /** Gate and up of an inner value side by side. */
  interleaved?: boolean;
}

/** Experts stacked, gate and up in one tensor, gate first. */
export const fused =
  ({ gateUp, down, turned = false, interleaved: woven = false }: Fusion): Spelling =>
  ({ experts }) => {
    const place = (rows: Matrix) => (turned ? transposed(rows) : rows);
    const together = (expert: Expert) =>
      woven ? interleaved(gateOf(expert), expert.up) : [...gateOf(expert), ...expert.up];
    return {
      [gateUp]: stack(experts.map((expert) => place(together(expert)))),
      [down]: stack(experts.map((expert) => place(expert.down))),
    };
  };

/** Biases of fused experts. */
export const fusedBiases =
  (gateUp: string, down: string, woven: boolean): Spelling =>
  ({ experts }) => ({
    [gateUp]: matrix(
      experts.map((expert) => {
        const [gate, up] = [given(expert.gateBias), given(expert.upBias)];
        return woven ? gate.flatMap((value, i) => [value, up[i] as number]) : [...gate, ...up];
      }),
    ),
    [down]: matrix(experts.map(({ downBias }) => given(downBias))),
  });

/** The shared expert, where the block has one. */
export const shared =
  (prefix: string, names: Names = projections): Spelling =>
  (block) =>
    block.shared ? oneExpert(prefix, names, block.shared) : {};

/** The weight of the sigmoid that scales the shared expert. */
export const sharedRouter =
  (name: string): Spelling =>
  (block) => ({ [name]: matrix([given(block.shared?.router)]) });

/** The shared expert with gate and up in one tensor. */
export const fusedShared =
  (gateUp: string, down: string): Spelling =>
  ({ shared: expert }) =>
    expert
      ? { [gateUp]: matrix([...gateOf(expert), ...expert.up]), [down]: matrix(expert.down) }
      : {};

/** Transformers' usual names under a segment: per expert, fused, fused and turned. */
export const usual = (segment: string) => ({
  perExpert: perExpert(`${segment}.experts.{e}.`),
  numbered: perExpert(`${segment}.experts.{e}.`, numbered),
  fused: fused({
    gateUp: `${segment}.experts.gate_up_proj`,
    down: `${segment}.experts.down_proj`,
  }),
  turned: fused({
    gateUp: `${segment}.experts.gate_up_proj`,
    down: `${segment}.experts.down_proj`,
    turned: true,
  }),
});
