// A whole MoE block of a model in float64: router, experts, shared experts, and what is around them.
import { type Activation, type Expert, expertOutput } from './experts.js';
import { dot, type Matrix, product, rmsNorm, sigmoid, type Vector } from './numbers.js';
import { type Router, route } from './routers.js';

/** An expert that every token takes. */
export interface SharedExpert extends Expert {
  activation: Activation;
  /** `[H]`: its output times the sigmoid of this times the row. */
  router?: Vector;
}

export interface Block {
  router: Router;
  /** A choice beyond them is the row itself. */
  experts: Expert[];
  activation: Activation;
  /** Expert and output instead of weight times output: expert(weight times row). */
  weightOnInput?: boolean;
  shared?: SharedExpert;
  /** Shared experts whose weights the router gives. */
  weighedShared?: Expert[];
  /** Experts work on `down` times the row, and `up` brings what they give together back. */
  latent?: { down: Matrix; up: Matrix };
  /** `[H]`, added once to what the experts give. */
  outputBias?: Vector;
  /** Multiplies what the experts give together. */
  routedFactor?: number;
  /** Multiplies what experts and shared expert give together. */
  outputFactor?: number;
  /** Experts see the row divided by its root mean square, times these; the router has the row itself. */
  norm?: { weight: Vector; epsilon: number };
}

/** The rows that a block's experts see. */
export function expertRows({ norm }: Block, rows: Matrix): Matrix {
  if (norm === undefined) return rows;
  return rows.map((row) =>
    rmsNorm(row, norm.epsilon).map((value, i) => value * (norm.weight[i] as number)),
  );
}

function add(to: number[], values: Vector, factor = 1): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] as number) + factor * (values[i] as number);
}

/** What a block makes of the rows of one sequence. */
export function blockOutput(block: Block, rows: Matrix, tokens?: Vector): number[][] {
  const { experts, activation, shared, weighedShared = [], latent, outputBias } = block;
  const seen = expertRows(block, rows);
  return route(block.router, rows, tokens).map((routed, t) => {
    const row = seen[t] as Vector;
    const input = latent ? product(latent.down, row) : row;
    const mixed = new Array<number>(input.length).fill(0);
    for (const { expert: number, weight } of routed.choices) {
      const expert = experts[number];
      if (expert === undefined) add(mixed, input, weight);
      else if (block.weightOnInput)
        add(
          mixed,
          expertOutput(
            expert,
            activation,
            input.map((value) => weight * value),
          ),
        );
      else add(mixed, expertOutput(expert, activation, input), weight);
    }
    const output = latent ? product(latent.up, mixed) : mixed;
    const all = output.map((value) => value * (block.routedFactor ?? 1));
    if (outputBias) add(all, outputBias);
    if (shared) {
      const gate = shared.router ? sigmoid(dot(shared.router, row)) : 1;
      add(all, expertOutput(shared, shared.activation, row), gate);
    }
    weighedShared.forEach((expert, i) => {
      add(all, expertOutput(expert, activation, row), routed.shared?.[i]);
    });
    return all.map((value) => value * (block.outputFactor ?? 1));
  });
}
