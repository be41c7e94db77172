// Blocks of small odd sizes with random weights, scaled so that routers are undecided and limits are met.
import { generator } from '../support/layers.js';
import type { Block, SharedExpert } from './reference/block.js';
import { type Activation, type Expert, swiglu } from './reference/experts.js';
import type { Matrix, Vector } from './reference/numbers.js';
import type { Router } from './reference/routers.js';

/** Small sizes that no two of are the same. */
export const H = 12;
export const I = 10;
export const E = 6;
export const K = 3;
/** Width of a shared expert whose width is its own. */
export const S = 14;
/** Number of token ids. */
export const V = 9;

/** What a block has beside its router and its experts' matrices. */
export interface BlockOptions {
  E?: number;
  I?: number;
  /** Classes of the router behind those of the experts. */
  moreClasses?: number;
  /** Range of the router's weights. */
  routerRange?: number;
  /** Range of the bias for the choice. */
  choiceBias?: number;
  activation?: Activation;
  gated?: boolean;
  biased?: boolean;
  logitBias?: boolean;
  /** Width of the shared expert. */
  S?: number;
  sharedActivation?: Activation;
  /** Whether a sigmoid of its own scales it. */
  sharedRouter?: boolean;
  /** Number of shared experts that the router weighs. */
  weighedShared?: number;
  /** Width of the rows that experts see. */
  latent?: number;
  outputBias?: boolean;
}

/** Random values, exact in float32, as they are stored. */
export class Values {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = generator(seed);
  }

  /** Exact in float32, as they are stored. */
  vector(size: number, range: number, middle = 0): number[] {
    return Array.from({ length: size }, () => Math.fround(middle + (2 * this.#next() - 1) * range));
  }

  matrix(rows: number, cols: number, range = 0.5): Matrix {
    return Array.from({ length: rows }, () => this.vector(cols, range));
  }

  expert(inner: number, outer: number, { gated = true, biased = false }: BlockOptions): Expert {
    return {
      ...(gated && { gate: this.matrix(inner, outer, 0.7) }),
      up: this.matrix(inner, outer, 0.7),
      down: this.matrix(outer, inner),
      ...(biased && gated && { gateBias: this.vector(inner, 0.5) }),
      ...(biased && { upBias: this.vector(inner, 0.5), downBias: this.vector(outer, 0.5) }),
    };
  }
}

/** A router without its weights. */
export type RouterOptions = Omit<Router, 'weight' | 'K'> & { K?: number };

/** A random block; `more` overrides what is random. */
export function randomBlock(
  seed: number,
  router: RouterOptions,
  options: BlockOptions = {},
  more: Partial<Block> = {},
): Block {
  const values = new Values(seed);
  const { activation = swiglu, moreClasses = 0, weighedShared = 0 } = options;
  const count = options.E ?? E;
  const classes = count + moreClasses + weighedShared;
  const width = options.latent ?? H;
  const inner = options.I ?? I;
  const { choiceBias } = options;
  const shared = (): SharedExpert => ({
    ...values.expert(options.S ?? 0, H, { ...options, biased: false }),
    activation: options.sharedActivation ?? activation,
    ...(options.sharedRouter && { router: values.vector(H, 0.5) }),
  });
  return {
    router: {
      K,
      weight: values.matrix(classes, H, options.routerRange ?? 0.6),
      ...(choiceBias && { choiceBias: values.vector(classes - weighedShared, choiceBias) }),
      ...(options.logitBias && { logitBias: values.vector(classes, 0.5) }),
      ...router,
    },
    experts: Array.from({ length: count }, () => values.expert(inner, width, options)),
    activation,
    ...(options.S && { shared: shared() }),
    ...(weighedShared > 0 && {
      weighedShared: Array.from({ length: weighedShared }, () => values.expert(inner, H, options)),
    }),
    ...(options.latent && {
      latent: { down: values.matrix(width, H), up: values.matrix(H, width) },
    }),
    ...(options.outputBias && { outputBias: values.vector(H, 0.5) }),
    ...more,
  };
}

/** A vector for what only one family has. */
export const randomVector = (seed: number, size: number, range: number, middle = 0): number[] =>
  new Values(seed).vector(size, range, middle);

/** Rows that are exact in float32. */
export const randomRows = (seed: number, count: number): Matrix =>
  new Values(seed).matrix(count, H, 1.7);

/** Experts of each token id, all of them different for a token. */
export function randomTable(seed: number, experts = E, choices = K): Vector[] {
  const next = generator(seed);
  return Array.from({ length: V }, () => {
    const left = Array.from({ length: experts }, (_, expert) => expert);
    return Array.from(
      { length: choices },
      () => left.splice(Math.floor(next() * left.length), 1)[0] as number,
    );
  });
}
