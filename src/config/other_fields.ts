import {
  expectBoolean,
  expectInteger,
  expectNumber,
  expectOneOf,
  unexpected,
} from '../base/checks.js';
import type { MoEConfigFields } from './fields.js';

type RoutingFields = Pick<MoEConfigFields, 'routingPolicy' | 'capacityFactor' | 'expertNum'>;

/** A field of MindFormers' MoEConfig that this package has no field for. */
interface OtherField {
  readonly default: unknown;
  /** Throws `ConfigError` for a value of the wrong type, and for one that would change what a layer computes. */
  check(name: string, value: unknown, routing: RoutingFields): void;
  /** Why other values than the default change nothing here: continues "`name` ". */
  readonly note: string;
}

const statistics = 'writes statistics in training and changes no output.';
const training = 'belongs to training.';
const fusedOperator = "chooses among MindSpore's operators, which compute the same.";
const ranks = 'changes how ranks exchange rows, never the result.';

const anyCount: OtherField['check'] = (name, value) => expectInteger(name, value, 0);
const positiveCount: OtherField['check'] = (name, value) => expectInteger(name, value, 1);

function flag(note: string, byDefault = false): OtherField {
  return { default: byDefault, check: expectBoolean, note };
}

/** MindFormers' fields without an effect on a layer's forward, under their own names. */
const otherFields: Readonly<Record<string, OtherField>> = {
  save_token_distribution: flag(statistics),
  cur_layer: { default: 0, check: anyCount, note: 'numbers the layer in statistics.' },
  enable_cold_hot_expert: {
    ...flag(training),
    check(name, value) {
      if (value !== false)
        throw unexpected(
          name,
          'false: copies of much-used experts change which choices capacity drops',
          value,
        );
    },
  },
  update_step: { default: 10000, check: positiveCount, note: training },
  hot_expert_num: {
    default: 0,
    check: (name, value, { expertNum }) => expectInteger(name, value, 0, expertNum),
    note: 'has an effect only with `enable_cold_hot_expert`.',
  },
  cold_token_percent: {
    default: 1,
    check: (name, value) => expectNumber(name, value, { above: 0, atMost: 1 }),
    note: 'has an effect only with `enable_cold_hot_expert`.',
  },
  moe_module_name: { default: '', check: expectString, note: training },
  use_fused_ops_topkrouter: flag(fusedOperator),
  router_dense_type: {
    default: 'float32',
    check: checkRouterType,
    note: 'means float32 in MindFormers.',
  },
  max_router_load: {
    default: 131072,
    check: positiveCount,
    note: "sizes a buffer that this package's router does not need.",
  },
  enable_deredundency: flag(ranks),
  npu_nums_per_device: { default: 1, check: positiveCount, note: ranks },
  first_k_dense_replace: {
    default: true,
    check(name, value) {
      if (typeof value !== 'boolean') expectInteger(name, value, 0);
    },
    note: 'says which layers of a model have experts, nothing about such a layer.',
  },
  topk_bias_update_rate: {
    default: 0,
    check: (name, value) => expectNumber(name, value),
    note: training,
  },
  use_allgather_dispatcher: flag(ranks),
  moe_shared_expert_overlap: flag('changes when the shared expert runs, never the result.'),
  expert_model_parallel: {
    default: null,
    check(name, value) {
      if (value !== null && value !== 1)
        throw unexpected(name, 'null or 1: experts are split like the rest of the model', value);
    },
    note: 'is what experts have anyway.',
  },
  use_gmm: {
    ...flag('is how a layer without capacity is computed here.'),
    check(name, value, { routingPolicy, capacityFactor }) {
      expectBoolean(name, value);
      if (value && !(routingPolicy === 'TopkRouterV2' && capacityFactor <= 0))
        throw unexpected(
          name,
          "false, or `routing_policy` 'TopkRouterV2' with `capacity_factor` -1: grouped products drop no choice",
          value,
        );
    },
  },
  enable_gmm_safe_tokens: flag(
    'keeps a MindSpore operator from empty experts, which need no care here.',
  ),
  use_fused_ops_permute: flag(fusedOperator),
  callback_moe_droprate: flag(statistics),
  dispatch_global_max_bs: {
    default: 0,
    check: anyCount,
    note: 'sizes a buffer of an Ascend operator.',
  },
  ep_extend_tp: flag('has no effect in MindFormers either.', true),
};

export const otherFieldNames: readonly string[] = Object.keys(otherFields);

/**
 * Checks the fields that this package has no field for, by their MindFormers names.
 *
 * @returns a sentence for each that differs from its default
 */
export function checkOtherFields(
  given: ReadonlyMap<string, unknown>,
  routing: RoutingFields,
): string[] {
  const notes: string[] = [];
  for (const [name, value] of given) {
    const field = otherFields[name] as OtherField;
    if (value === field.default) continue;
    field.check(name, value, routing);
    notes.push(`\`${name}\` ${field.note}`);
  }
  return notes;
}

function expectString(name: string, value: unknown): void {
  if (typeof value !== 'string') throw unexpected(name, 'a string', value);
}

function checkRouterType(name: string, value: unknown): void {
  expectOneOf(name, value, ['float16', 'float32', 'bfloat16']);
  if (value === 'bfloat16')
    throw unexpected(
      name,
      "'float32' (or 'float16', which means the same): the router computes in float32",
      value,
    );
}
