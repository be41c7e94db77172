import { given } from '../../base/rows.js';
import { expertRows, isGated } from '../../layer/experts.js';
import type { LayerOptions } from '../../layer/options.js';
import type { Tensor } from '../../layer/weights.js';
import type { Check } from './checks.js';

/** Numbers from -1 to 1 that a seed determines (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** The layer of a check, without a device, and its batch. Outputs keep about the size of inputs. */
export function layerOf(check: Check): { options: LayerOptions; hidden: Float32Array } {
  const { tokens, hiddenSize: H, intermediateSize: I, expertNum: E, activation } = check;
  const next = numbers(1);
  const tensor = (...shape: number[]): Tensor => {
    const scale = shape.length === 1 ? 0.5 : Math.sqrt(3 / (shape.at(-1) as number));
    const count = shape.reduce((product, size) => product * size, 1);
    return {
      dtype: 'float32',
      shape,
      data: Float32Array.from({ length: count }, () => scale * next()),
    };
  };
  const { latentSize: L, sharedActivation = activation } = check;
  const R = L ?? H; // of the routed experts
  const gated = isGated(activation);
  const options: LayerOptions = {
    config: {
      expertNum: E,
      numExpertsChosen: check.numExpertsChosen,
      ...(check.shared && { sharedExpertNum: 1, useSharedExpertGating: true }),
      ...check.config,
    },
    hiddenSize: H,
    intermediateSize: I,
    ...given(expertRows, check),
    weights: {
      router: tensor(E, H),
      ...(check.correctionBias && { routerCorrectionBias: tensor(E) }),
      ...(gated && { gate: tensor(E, I, R) }),
      up: tensor(E, I, R),
      down: tensor(E, R, I),
      ...(L !== undefined && { latentDown: tensor(L, H), latentUp: tensor(H, L) }),
      ...(check.biases && { routerBias: tensor(E), upBias: tensor(E, I), downBias: tensor(E, R) }),
      ...(check.biases && gated && { gateBias: tensor(E, I) }),
      ...(check.shared && {
        shared: {
          ...(isGated(sharedActivation) && { gate: tensor(I, H) }),
          up: tensor(I, H),
          down: tensor(H, I),
          router: tensor(1, H),
        },
      }),
    },
  };
  const hidden = Float32Array.from({ length: tokens * H }, () => 2 * next());
  for (let token = 3; check.special && token < tokens; token += 7) {
    if (check.special === 'zero') hidden.fill(0, token * H, (token + 1) * H);
    else hidden[token * H + 5] = Number.NaN;
  }
  return { options, hidden };
}
