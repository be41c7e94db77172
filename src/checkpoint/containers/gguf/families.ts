// What llama.cpp calls families of models, and how their checkpoints name what GGUF files hold.
import type { GgufValue } from './reader.js';

/** Names inside a layer, as the family's checkpoints have them; `{e}` is an expert's number. */
export interface GgufFamily {
  readonly modelType: string;
  readonly router: string;
  readonly experts: readonly [gate: string, up: string, down: string];
  readonly shared?: string;
  /** Keys of `config.json` whose names differ between families. */
  readonly keys: {
    readonly experts: string;
    readonly width: string;
    readonly sharedWidth?: string;
  };
  /** Keys that the file does not say, and the family's models have so. */
  readonly always?: Readonly<Record<string, unknown>>;
  /** Rows of queries and keys stand as rotation pairs them. */
  readonly paired?: true;
  /** Attention's tensors may have biases, which this key says. */
  readonly bias?: string;
}

const projected = (root: string): GgufFamily['experts'] => [
  `${root}.gate_proj`,
  `${root}.up_proj`,
  `${root}.down_proj`,
];
const inMlp = {
  router: 'mlp.gate.weight',
  experts: projected('mlp.experts.{e}'),
} as const;
const routed = { experts: 'n_routed_experts', width: 'moe_intermediate_size' } as const;
const deepseek = { ...inMlp, shared: 'mlp.shared_experts', keys: routed } as const;
const granite = {
  router: 'block_sparse_moe.router.layer.weight',
  experts: projected('block_sparse_moe.experts.{e}'),
  shared: 'shared_mlp',
  keys: {
    ...{ experts: 'num_local_experts', width: 'intermediate_size' },
    sharedWidth: 'shared_intermediate_size',
  },
  paired: true,
  bias: 'attention_bias',
} as const;

/** Whether metadata or tensors of a file say something. */
export interface GgufFacts {
  readonly get: (key: string) => GgufValue | undefined;
  readonly hasTensor: (ending: string) => boolean;
}

const [softmax, sigmoid] = [1, 2];

/** DeepSeek-V3 and its like choose by sigmoids; files from before 2025 say it by the bias of the choice only. */
const isSigmoid = ({ get, hasTensor }: GgufFacts): boolean =>
  get('expert_gating_func') === sigmoid ||
  (get('expert_gating_func') !== softmax && hasTensor('exp_probs_b.bias'));

/** By `general.architecture`. */
export const ggufFamilies: Readonly<Record<string, (facts: GgufFacts) => GgufFamily>> = {
  llama: () => ({
    modelType: 'mixtral',
    router: 'block_sparse_moe.gate.weight',
    experts: [
      'block_sparse_moe.experts.{e}.w1',
      'block_sparse_moe.experts.{e}.w3',
      'block_sparse_moe.experts.{e}.w2',
    ],
    keys: { experts: 'num_local_experts', width: 'intermediate_size' },
    paired: true,
  }),
  olmoe: () => ({
    ...{ ...inMlp, modelType: 'olmoe' },
    keys: { experts: 'num_experts', width: 'intermediate_size' },
    always: { norm_topk_prob: false },
  }),
  qwen2moe: () => ({
    ...{ ...inMlp, modelType: 'qwen2_moe', shared: 'mlp.shared_expert' },
    keys: {
      ...{ experts: 'num_experts', width: 'moe_intermediate_size' },
      sharedWidth: 'shared_expert_intermediate_size',
    },
    always: { norm_topk_prob: false, use_sliding_window: false },
    bias: 'qkv_bias',
  }),
  qwen3moe: () => ({
    ...{ ...inMlp, modelType: 'qwen3_moe' },
    keys: { experts: 'num_experts', width: 'moe_intermediate_size' },
    always: { norm_topk_prob: true, use_sliding_window: false },
    bias: 'attention_bias',
  }),
  deepseek2: (facts) =>
    isSigmoid(facts)
      ? { ...deepseek, modelType: 'deepseek_v3' }
      : {
          ...{ ...deepseek, modelType: 'deepseek_v2' },
          always: { topk_method: 'greedy', scoring_func: 'softmax' },
        },
  glm4moe: () => ({ ...deepseek, modelType: 'glm4_moe', bias: 'attention_bias' }),
  dots1: () => ({ ...deepseek, modelType: 'dots1', bias: 'attention_bias' }),
  'gpt-oss': () => ({
    ...{ ...inMlp, modelType: 'gpt_oss', router: 'mlp.router.weight' },
    keys: { experts: 'num_local_experts', width: 'intermediate_size' },
    bias: 'attention_bias',
  }),
  granitemoe: ({ hasTensor }) => ({
    ...granite,
    modelType: hasTensor('ffn_up_shexp.weight') ? 'granitemoeshared' : 'granitemoe',
  }),
};
