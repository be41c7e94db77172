// A whole decoder in float64, as plainly as it can be written: one sequence, every position, no cache.
import { type Block, blockOutput } from '../families/reference/block.js';
import { type Expert, expertOutput, swiglu } from '../families/reference/experts.js';
import {
  clamp,
  dot,
  type Matrix,
  product,
  rmsNorm,
  type Vector,
} from '../families/reference/numbers.js';
import type { ReferenceRope } from './rope.js';

interface Rotated {
  rope: ReferenceRope;
  /** Pairs stand side by side; else a half apart. */
  interleaved?: boolean;
}

/** What both kinds of attention have. */
interface Attention {
  heads: number;
  scale: number;
  /** Tokens that a token sees, itself among them. */
  window?: number;
  output: Matrix;
  outputBias?: Vector;
}

export interface GroupedAttention extends Attention, Rotated {
  kind: 'grouped';
  kvHeads: number;
  size: number;
  query: Matrix;
  key: Matrix;
  value: Matrix;
  queryBias?: Vector;
  keyBias?: Vector;
  valueBias?: Vector;
  /** Of each head, or of the whole row: as long as the weights are. */
  queryNorm?: Vector;
  keyNorm?: Vector;
  clip?: number;
  /** A logit of each head. */
  sinks?: Vector;
}

export interface LatentAttention extends Attention, Rotated {
  kind: 'latent';
  nope: number;
  rotated: number;
  valueSize: number;
  latent: number;
  /** Straight from the token, or by way of a latent row. */
  query?: Matrix;
  queryDown?: Matrix;
  queryDownBias?: Vector;
  queryDownNorm?: Vector;
  queryUp?: Matrix;
  latentDown: Matrix;
  latentDownBias?: Vector;
  latentNorm: Vector;
  /** Of each head its keys' rows, then its values'. */
  latentUp: Matrix;
}

export interface DecoderLayer {
  attentionNorm: Vector;
  attention: GroupedAttention | LatentAttention;
  feedForwardNorm: Vector;
  feedForward: { block: Block } | { dense: Expert };
}

export interface Decoder {
  embedding: Matrix;
  layers: DecoderLayer[];
  norm: Vector;
  head: Matrix;
  epsilon: number;
  embeddingFactor?: number;
  residualFactor?: number;
  /** Logits are divided by it. */
  logitsDivisor?: number;
}

/** The latent rows' norms have an epsilon of their own. */
const latentEpsilon = 1e-6;

/** Logits of every position: `[T][V]`. */
export function decoderLogits(decoder: Decoder, tokens: readonly number[]): number[][] {
  const { embedding, layers, norm, head, epsilon } = decoder;
  const { embeddingFactor = 1, residualFactor = 1, logitsDivisor = 1 } = decoder;
  let rows = tokens.map((token) => times(embedding[token] as Vector, embeddingFactor));
  for (const layer of layers) {
    const attended = attend(layer.attention, normed(rows, layer.attentionNorm, epsilon), epsilon);
    rows = rows.map((row, t) => plus(row, times(attended[t] as Vector, residualFactor)));
    const fed = feed(layer.feedForward, normed(rows, layer.feedForwardNorm, epsilon));
    rows = rows.map((row, t) => plus(row, times(fed[t] as Vector, residualFactor)));
  }
  return normed(rows, norm, epsilon).map((row) => times(product(head, row), 1 / logitsDivisor));
}

const times = (x: Vector, factor: number) => x.map((value) => value * factor);
const plus = (x: Vector, y: Vector | undefined) =>
  y === undefined ? [...x] : x.map((value, i) => value + (y[i] as number));
const weighted = (x: Vector, weight: Vector, epsilon: number) =>
  rmsNorm(x, epsilon).map((value, i) => value * (weight[i] as number));
const normed = (rows: Matrix, weight: Vector, epsilon: number) =>
  rows.map((row) => weighted(row, weight, epsilon));

function feed(part: DecoderLayer['feedForward'], rows: Matrix): number[][] {
  if ('block' in part) return blockOutput(part.block, rows);
  return rows.map((row) => expertOutput(part.dense, swiglu, row));
}

const heads = (row: Vector, count: number): number[][] => {
  const size = row.length / count;
  return Array.from({ length: count }, (_, h) => row.slice(h * size, (h + 1) * size));
};

/** Turns all of a vector by its position. */
function turn(x: Vector, position: number, { rope, interleaved }: Rotated): number[] {
  const { frequencies, factor } = rope;
  const half = x.length / 2;
  if (frequencies.length !== half)
    throw new Error(`${frequencies.length} frequencies for ${half} pairs`);
  const turned = [...x];
  frequencies.forEach((frequency, i) => {
    const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const [cos, sin] = [Math.cos(position * frequency), Math.sin(position * frequency)];
    const [first, second] = [x[a] as number, x[b] as number];
    turned[a] = factor * (first * cos - second * sin);
    turned[b] = factor * (second * cos + first * sin);
  });
  return turned;
}

/** Softmax over what a token sees, its head's sink among the logits; what the sink takes is lost. */
function mix(
  query: Vector,
  keys: Matrix,
  values: Matrix,
  { scale, window = Infinity }: Attention,
  sink: number | undefined,
): number[] {
  const position = keys.length - 1;
  const first = Math.max(0, position - window + 1);
  const scores = keys.slice(first).map((key) => scale * dot(query, key));
  const logits = sink === undefined ? scores : [...scores, sink];
  const most = Math.max(...logits);
  const total = logits.reduce((all, logit) => all + Math.exp(logit - most), 0);
  const mixed = new Array<number>((values[0] as Vector).length).fill(0);
  scores.forEach((score, j) => {
    const share = Math.exp(score - most) / total;
    (values[first + j] as Vector).forEach((value, i) => {
      mixed[i] = (mixed[i] as number) + share * value;
    });
  });
  return mixed;
}

function attend(
  attention: GroupedAttention | LatentAttention,
  rows: Matrix,
  epsilon: number,
): number[][] {
  const { query, key, value } =
    attention.kind === 'grouped' ? grouped(attention, rows, epsilon) : latent(attention, rows);
  const shared = attention.heads / (key[0] as Matrix).length;
  const sinks = attention.kind === 'grouped' ? attention.sinks : undefined;
  return rows.map((_, t) => {
    const mixed = (query[t] as Matrix).map((own, h) => {
      const group = Math.floor(h / shared);
      const before = <Each>(all: readonly (readonly Each[])[]) =>
        all.slice(0, t + 1).map((each) => each[group] as Each);
      return mix(own, before(key), before(value), attention, sinks?.[h]);
    });
    return plus(product(attention.output, mixed.flat()), attention.outputBias);
  });
}

/** By token and head. */
interface Heads {
  query: Matrix[];
  key: Matrix[];
  value: Matrix[];
}

function grouped(attention: GroupedAttention, rows: Matrix, epsilon: number): Heads {
  const { size, clip = Infinity, rope } = attention;
  const rotated = 2 * rope.frequencies.length;
  const project = (row: Vector, weight: Matrix, bias?: Vector, norm?: Vector): number[][] => {
    const all = plus(product(weight, row), bias);
    const whole = norm?.length === all.length ? weighted(all, norm, epsilon) : all;
    return heads(whole, all.length / size).map((head) => {
      const each = norm?.length === size && norm.length !== all.length;
      const own = each ? weighted(head, norm, epsilon) : head;
      return own.map((value) => clamp(value, -clip, clip));
    });
  };
  const turned = (row: Vector[], t: number) =>
    row.map((head) => [...turn(head.slice(0, rotated), t, attention), ...head.slice(rotated)]);
  const { query, key, value, queryBias, keyBias, valueBias, queryNorm, keyNorm } = attention;
  return {
    query: rows.map((row, t) => turned(project(row, query, queryBias, queryNorm), t)),
    key: rows.map((row, t) => turned(project(row, key, keyBias, keyNorm), t)),
    value: rows.map((row) => project(row, value, valueBias)),
  };
}

/** Keys and values of every head are made from the latent row, as they are written down. */
function latent(attention: LatentAttention, rows: Matrix): Heads {
  const { nope, valueSize, latent: size, query, queryDown, queryUp, queryDownNorm } = attention;
  const queries = (row: Vector): number[] => {
    if (query !== undefined) return product(query, row);
    const down = plus(product(queryDown as Matrix, row), attention.queryDownBias);
    return product(queryUp as Matrix, weighted(down, queryDownNorm as Vector, latentEpsilon));
  };
  const down = rows.map((row) =>
    plus(product(attention.latentDown, row), attention.latentDownBias),
  );
  const made = down.map((row, t) => {
    const normedRow = weighted(row.slice(0, size), attention.latentNorm, latentEpsilon);
    const ofAll = turn(row.slice(size), t, attention);
    return heads(product(attention.latentUp, normedRow), attention.heads).map((head) => ({
      key: [...head.slice(0, nope), ...ofAll],
      value: head.slice(nope, nope + valueSize),
    }));
  });
  return {
    query: rows.map((row, t) =>
      heads(queries(row), attention.heads).map((head) => [
        ...head.slice(0, nope),
        ...turn(head.slice(nope), t, attention),
      ]),
    ),
    key: made.map((token) => token.map(({ key }) => key)),
    value: made.map((token) => token.map(({ value }) => value)),
  };
}
