import type { LayerWeightViews } from '../../binding/views.js';
import { type ExpertNames, type FusedNames, fusedExperts, gatedExpert } from './experts.js';
import type { Family } from './family.js';
import type { LayerTensors } from './layer_tensors.js';

const router = 'mlp.gate.weight';
const correctionBias = 'mlp.gate.e_score_correction_bias';
const sharedRouter = 'mlp.shared_expert_gate.weight';
const gateUp = 'mlp.experts.gate_up_proj';
const down = 'mlp.experts.down_proj';

const projectionsOf = (expert: string): ExpertNames => ({
  gate: `mlp.${expert}.gate_proj.weight`,
  up: `mlp.${expert}.up_proj.weight`,
  down: `mlp.${expert}.down_proj.weight`,
});

/**
 * Qwen, OLMoE, DeepSeek, GLM and dots.1: `gate_proj`, `up_proj`, `down_proj` under `mlp.experts.{e}`, or all experts fused
 * in `gate_up_proj` and `down_proj`; with or without a shared expert.
 */
export const projections: Family = {
  name: 'gate_proj, up_proj, down_proj',
  // Mixtral too: newer Transformers keep it like this.
  modelTypes: [
    ...['mixtral', 'qwen2_moe', 'qwen3_moe', 'olmoe'],
    ...['deepseek_v2', 'deepseek_v3', 'glm4_moe', 'dots1'],
  ],
  routers: [router],

  measure(tensors) {
    const [expertNum, hiddenSize] = tensors.shape(router, 2) as [number, number];
    const { up: sharedUp } = sharedNames(tensors);
    const sharedSize = tensors.has(sharedUp) ? (tensors.shape(sharedUp, 2)[0] as number) : 0;
    const sizes = { expertNum, hiddenSize, sharedSize, activation: 'swiglu' as const };
    if (tensors.has(gateUp)) {
      const [, a, b] = tensors.shape(down, 3) as [number, number, number];
      return {
        ...sizes,
        intermediateSize: a === hiddenSize ? b : a,
        weightType: tensors.dtype(down),
      };
    }
    const up = projectionsOf('experts.0').up;
    const [intermediateSize] = tensors.shape(up, 2) as [number, number];
    return { ...sizes, intermediateSize, weightType: tensors.dtype(up) };
  },

  views(tensors, sizes, config) {
    const { expertNum, hiddenSize, intermediateSize, sharedSize } = sizes;
    const views: LayerWeightViews = {
      router: tensors.matrix(router, expertNum, hiddenSize),
      experts: tensors.has(gateUp)
        ? fusedExperts(tensors, fusedNames(tensors, hiddenSize, intermediateSize), sizes)
        : Array.from({ length: expertNum }, (_, expert) =>
            gatedExpert(tensors, projectionsOf(`experts.${expert}`), hiddenSize, intermediateSize),
          ),
    };
    if (config.balanceViaTopkBias || tensors.has(correctionBias))
      views.routerCorrectionBias = tensors.vector(correctionBias, expertNum);
    if (sharedSize > 0)
      views.shared = gatedExpert(tensors, sharedNames(tensors), hiddenSize, sharedSize);
    if (config.useSharedExpertGating || tensors.has(sharedRouter))
      views.sharedRouter = tensors.matrix(sharedRouter, 1, hiddenSize);
    return views;
  },
};

/** Qwen has one shared expert, DeepSeek calls several side by side `shared_experts`. */
function sharedNames(tensors: LayerTensors): ExpertNames {
  const one = projectionsOf('shared_expert');
  return Object.values(one).some((name) => tensors.has(name))
    ? one
    : projectionsOf('shared_experts');
}

/**
 * Which way round the fused tensors stand. Both shapes decide: `2I = H` leaves `gate_up_proj` open and `I = H` leaves
 * `down_proj` open, but never both.
 */
function fusedNames(
  tensors: LayerTensors,
  hiddenSize: number,
  intermediateSize: number,
): FusedNames {
  const [, inner] = tensors.shape(gateUp, 3) as [number, number, number];
  const [, back] = tensors.shape(down, 3) as [number, number, number];
  return { gateUp, down, transposed: inner === hiddenSize && back === intermediateSize };
}
