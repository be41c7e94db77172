/**
 * How a matrix stands in its tensor: output features (`o`), input features (`i`) and experts (`e`), the outermost first;
 * `(eo)` is one dimension. A tensor of one expert has `{e}` in its name, the expert's number (`{e+E}`: plus the number of
 * experts).
 */
export type Axes = 'oi' | 'io' | 'eoi' | 'eio' | '(eo)i' | '(ei)o';

/** Which of the output features, where gate and up share a tensor. */
export type Part = 'first half' | 'second half' | 'even' | 'odd';

export interface MatrixAt {
  readonly name: string;
  readonly axes: Axes;
  readonly part?: Part;
  /** In MXFP4: blocks of 32 inputs in `{name}_blocks`, their scales in `{name}_scales`. */
  readonly mxfp4?: true;
}

/** A vector, or (without `{e}` in the name of an expert's) one of each expert. */
export interface VectorAt {
  readonly name: string;
  readonly part?: Part;
  /** It is row `at` of so many. */
  readonly row?: { readonly at: number; readonly of: number };
}

/** The weights of experts. */
export interface ExpertsAt {
  readonly gate?: MatrixAt;
  readonly up: MatrixAt;
  readonly down: MatrixAt;
  readonly gateBias?: VectorAt;
  readonly upBias?: VectorAt;
  readonly downBias?: VectorAt;
}

/** How an MoE layer's tensors are named, inside the layer, and laid out. */
export interface Layout {
  /** For tables and messages. */
  readonly name: string;
  readonly router: MatrixAt;
  /** The name of a second router, of another stack in the same layer. */
  readonly otherRouter?: string;
  /** Added to the logits. */
  readonly routerBias?: VectorAt;
  /** Added to the scores for the choice; the first that is there. */
  readonly choiceBias?: readonly VectorAt[];
  /** Multiplies the weight of each expert. */
  readonly expertScale?: VectorAt;
  /** Experts by token id, `[V, K]`. */
  readonly expertTable?: string;
  /** Around the routed experts, where they have a width of their own. */
  readonly latentDown?: MatrixAt;
  readonly latentUp?: MatrixAt;
  /** Added once to the output of the block, `[H]`. */
  readonly outputBias?: string;
  /**
   * The router sees another row than the experts: its own scale `[H]` and the norm's weight `[H]` that the experts' row has
   * been multiplied by. Both are folded into the router.
   */
  readonly routerRow?: { readonly scale: string; readonly norm: string };
  /** A factor of all weights, one number. */
  readonly factor?: string;
  /** The first whose tensors are there and of the right shape. */
  readonly experts: readonly ExpertsAt[];
  /** More experts, behind the others: they are chosen by every token. */
  readonly lastExperts?: ExpertsAt;
  readonly shared?: readonly ExpertsAt[];
  readonly sharedRouter?: string;
  /** What an expert computes where no config says it. Absent: `swiglu`. */
  readonly activation?: string;
  /**
   * What else in the layer is the caller's, or another stack's: names, and beginnings of names where they end in `.` or
   * `_`.
   */
  readonly beside?: readonly string[];
}
