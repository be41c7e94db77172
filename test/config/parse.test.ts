import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { MoEConfig } from '../../src/config/config.js';

/** The message that a source is refused with. */
function refusal(source: unknown): string {
  try {
    MoEConfig.parse(source as string);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  return 'taken';
}

const mixtral = `
seed: 0
run_mode: 'train'
trainer:
  type: CausalLanguageModelingTrainer
  model_name: 'mixtral-8x7b'

# mixture of experts
moe_config:
  expert_num: 8
  capacity_factor: 1.1
  aux_loss_factor: 0.05
  num_experts_chosen: 2
  routing_policy: "TopkRouterV2"
  enable_sdrop: True
  router_dense_type: "float32"

parallel_config:
  data_parallel: 8
  model_parallel: 1
  expert_parallel: 8
`;

const deepseekV2 = `
model:
  model_config:
    type: DeepseekV2Config
    num_layers: &num_layers 60
    moe_config:
      expert_num: &expert_num 160
      expert_group_size: 8
      capacity_factor: 1.5
      aux_loss_factor: 0.05
      num_experts_chosen: 6
      routing_policy: "TopkRouterV2"
      enable_sdrop: False
      topk_method: "group_limited_greedy"
      n_group: 8
      topk_group: 3
      routed_scaling_factor: 16.0
      norm_topk_prob: False
      shared_expert_num: 2
      moe_intermediate_size: 1536
      first_k_dense_replace: 1
      aux_loss_types: ["expert", "device", "comm"]
      aux_loss_factors: [0.003, 0.005, 0.002]
  arch:
    type: DeepseekV2ForCausalLM
callbacks:
  - type: MFLossMonitor
    experts: *expert_num
`;

const deepseekV3 = `
moe_config:
  expert_num: 256
  capacity_factor: -1
  num_experts_chosen: 8
  routing_policy: "TopkRouterV2"
  use_gating_sigmoid: True
  balance_via_topk_bias: &balance True
  topk_bias_update_rate: 0.001
  topk_method: "noaux_tc"
  n_group: 8
  topk_group: 4
  routed_scaling_factor: 2.5
  norm_topk_prob: True
  shared_expert_num: 1
  moe_intermediate_size: 2048
  first_k_dense_replace: 3
  expert_group_size:
  use_gmm: True
  enable_gmm_safe_tokens: True
  use_fused_ops_topkrouter: True
  z_loss_factor: 0.0
  expert_model_parallel: 1
`;

const qwen2 = `
moe_config:
  expert_num: 64
  capacity_factor: -1.0
  num_experts_chosen: 8
  routing_policy: "TopkRouterV2"
  shared_expert_num: 8.0
  use_shared_expert_gating: True
  norm_topk_prob: False
  moe_intermediate_size: 2560
`;

describe('MindFormers files', () => {
  test('Mixtral 8x7B', () => {
    const config = MoEConfig.parse(mixtral);
    const expected = new MoEConfig({
      expertNum: 8,
      numExpertsChosen: 2,
      routingPolicy: 'TopkRouterV2',
      enableSdrop: true,
    });
    expect({ ...config }).toEqual({ ...expected });
    expect(config.diagnostics).toEqual([]);
  });

  test('DeepSeek-V2, inside of model_config, with anchors', () => {
    const config = MoEConfig.parse(deepseekV2);
    const expected = new MoEConfig({
      expertNum: 160,
      expertGroupSize: 8,
      capacityFactor: 1.5,
      numExpertsChosen: 6,
      routingPolicy: 'TopkRouterV2',
      topkMethod: 'group_limited_greedy',
      nGroup: 8,
      topkGroup: 3,
      routedScalingFactor: 16,
      normTopkProb: false,
      sharedExpertNum: 2,
      moeIntermediateSize: 1536,
      auxLossTypes: ['expert', 'device', 'comm'],
      auxLossFactors: [0.003, 0.005, 0.002],
    });
    expect({ ...config }).toEqual({ ...expected });
    expect(config.diagnostics).toEqual([
      '`first_k_dense_replace` says which layers of a model have experts, nothing about such a layer.',
    ]);
  });

  test('DeepSeek-V3, with a note for every field without effect', () => {
    const config = MoEConfig.parse(deepseekV3);
    const expected = new MoEConfig({
      expertNum: 256,
      capacityFactor: -1,
      numExpertsChosen: 8,
      routingPolicy: 'TopkRouterV2',
      useGatingSigmoid: true,
      balanceViaTopkBias: true,
      topkMethod: 'noaux_tc',
      nGroup: 8,
      topkGroup: 4,
      routedScalingFactor: 2.5,
      sharedExpertNum: 1,
      moeIntermediateSize: 2048,
    });
    expect({ ...config }).toEqual({ ...expected });
    expect(config.diagnostics.map((sentence) => sentence.split(' ')[0])).toEqual([
      '`topk_bias_update_rate`',
      '`first_k_dense_replace`',
      '`use_gmm`',
      '`enable_gmm_safe_tokens`',
      '`use_fused_ops_topkrouter`',
      '`expert_model_parallel`',
    ]);
  });

  test('Qwen2-57B, whose shared expert is 8.0 routed ones wide', () => {
    const config = MoEConfig.parse(qwen2);
    expect(config.sharedExpertNum).toBe(8);
    expect(config.useSharedExpertGating).toBe(true);
    expect(config.diagnostics).toEqual([]);
  });

  test('groups without a method that uses them are refused, with the methods that do', () => {
    expect(refusal(deepseekV3.replace('topk_method: "noaux_tc"', 'topk_method: greedy'))).toBe(
      "Expected `nGroup` to be left at its default (null): topkMethod 'greedy' has no groups, 'group_limited_greedy' " +
        "(DeepSeek-V2) and 'noaux_tc' (DeepSeek-V3) have, got `8` (number)",
    );
  });
});

describe('names', () => {
  test('snake_case and camelCase say the same', () => {
    const snake = MoEConfig.parse({
      expert_num: 4,
      group_wise_a2a: true,
      routing_policy: 'TopkRouterV2',
      n_group: null,
    });
    const camel = MoEConfig.parse({
      expertNum: 4,
      groupWiseA2a: true,
      routingPolicy: 'TopkRouterV2',
      nGroup: null,
    });
    expect(snake.equals(camel)).toBe(true);
    expect(snake.groupWiseA2a).toBe(true);
  });

  test('a MoEConfig is an object like any other', () => {
    const config = new MoEConfig({ expertNum: 4, numExpertsChosen: 2 });
    expect(MoEConfig.parse(config).equals(config)).toBe(true);
  });

  test.each([
    [
      { expert_num: 4, expertNum: 4 },
      'Expected each option once, got `expert_num` (string) and `expertNum` (string)',
    ],
    [
      { expert_numm: 4 },
      'Expected an option of MoEConfig, got `expert_numm` (string): did you mean `expert_num`?',
    ],
    [
      { enable_gmm_safe_token: true },
      'Expected an option of MoEConfig, got `enable_gmm_safe_token` (string): did you mean `enable_gmm_safe_tokens`?',
    ],
    [{ moe_config: null }, 'Expected `moe_config` to be an object, got `null`'],
    [{ moe_config: [] }, 'Expected `moe_config` to be an object, got an array of 0'],
    [
      { moe_config: {}, expert_num: 8 },
      'Expected every option inside `moe_config`, got `expert_num` (string) outside of it',
    ],
    [
      { moe_config: {}, model: { model_config: { moe_config: {} } } },
      'Expected one `moe_config`, got moe_config and model.model_config.moe_config',
    ],
    [5, 'Expected `source` to be an object, got `5` (number)'],
    [null, 'Expected `source` to be an object, got `null`'],
    [[], 'Expected `source` to be an object, got an array of 0'],
  ])('%j is refused', (source, message) => {
    expect(refusal(source)).toBe(message);
  });

  test('a key called __proto__ is a key', () => {
    expect(refusal('{"__proto__": {"expert_num": 4}}')).toContain(
      'Expected an option of MoEConfig, got `__proto__`',
    );
    expect(refusal(JSON.parse('{"__proto__": {"expert_num": 4}}'))).toContain('got `__proto__`');
  });
});

describe("MindFormers' fields without a place here", () => {
  test('are taken silently at their defaults', () => {
    const others = {
      save_token_distribution: false,
      cur_layer: 0,
      enable_cold_hot_expert: false,
      update_step: 10000,
      hot_expert_num: 0,
      cold_token_percent: 1.0,
      moe_module_name: '',
      use_fused_ops_topkrouter: false,
      router_dense_type: 'float32',
      max_router_load: 131072,
      enable_deredundency: false,
      npu_nums_per_device: 1,
      first_k_dense_replace: true,
      topk_bias_update_rate: 0.0,
      use_allgather_dispatcher: false,
      moe_shared_expert_overlap: false,
      expert_model_parallel: null,
      use_gmm: false,
      enable_gmm_safe_tokens: false,
      use_fused_ops_permute: false,
      callback_moe_droprate: false,
      dispatch_global_max_bs: 0,
      ep_extend_tp: true,
    };
    const config = MoEConfig.parse(others);
    expect(config.equals(new MoEConfig())).toBe(true);
    expect(config.diagnostics).toEqual([]);
  });

  test.each([
    ['save_token_distribution', true],
    ['cur_layer', 3],
    ['update_step', 100],
    ['hot_expert_num', 2],
    ['cold_token_percent', 0.5],
    ['moe_module_name', 'model.layers'],
    ['use_fused_ops_topkrouter', true],
    ['router_dense_type', 'float16'],
    ['max_router_load', 1024],
    ['enable_deredundency', true],
    ['npu_nums_per_device', 8],
    ['first_k_dense_replace', 3],
    ['topk_bias_update_rate', 0.001],
    ['use_allgather_dispatcher', true],
    ['moe_shared_expert_overlap', true],
    ['expert_model_parallel', 1],
    ['enable_gmm_safe_tokens', true],
    ['use_fused_ops_permute', true],
    ['callback_moe_droprate', true],
    ['dispatch_global_max_bs', 256],
    ['ep_extend_tp', false],
  ])('%s %s is noted', (name, value) => {
    const { diagnostics } = MoEConfig.parse({ expert_num: 8, [name]: value });
    expect(diagnostics).toHaveLength(1);
    expect(diagnostics[0]).toMatch(new RegExp(`^\`${name}\` .*\\.$`));
  });

  test.each([
    [
      'enable_cold_hot_expert',
      true,
      'copies of much-used experts change which choices capacity drops',
    ],
    ['router_dense_type', 'bfloat16', 'the router computes in float32'],
    ['router_dense_type', 'int8', "to be 'float16' or 'float32' or 'bfloat16'"],
    ['expert_model_parallel', 2, 'experts are split like the rest of the model'],
    ['use_gmm', true, "`routing_policy` 'TopkRouterV2' with `capacity_factor` -1"],
    ['save_token_distribution', 'yes', 'to be true or false'],
    ['hot_expert_num', -1, 'to be an integer from 0 to 8'],
    ['hot_expert_num', 9, 'to be an integer from 0 to 8'],
    ['cold_token_percent', 0, 'to be a finite number above 0 and of at most 1'],
    ['cold_token_percent', 5, 'of at most 1'],
    ['moe_module_name', 5, 'to be a string'],
    ['first_k_dense_replace', 'all', 'to be an integer of at least 0'],
  ])('%s %s is refused', (name, value, reason) => {
    const message = refusal({ expert_num: 8, [name]: value });
    expect(message).toContain(`Expected \`${name}\` to be`);
    expect(message).toContain(reason);
  });
});

describe('text', () => {
  test.each([
    ['', 'Expected YAML or JSON text of an object, got `null` at line 1, column 1'],
    [
      '# nothing\n\nhello',
      'Expected YAML or JSON text of an object, got `hello` (string) at line 3, column 1',
    ],
    ['- 1\n- 2', 'Expected YAML or JSON text of an object, got an array of 2 at line 1, column 1'],
    ['expert_num: 8\nexpert_num: 4', 'got an error at line 2, column 1: Map keys must be unique'],
    ['expert_num: [1, 2\ntop: 3', 'got an error at line'],
    ['{"expert_num": 8,, }', 'got an error at line 1, column 18'],
    ['expert_num: *nobody', 'got text that cannot be read: Unresolved alias'],
    ['a: 1\n---\nb: 2', 'got an error at line'],
  ])('%j is refused', (text, message) => {
    expect(refusal(text)).toContain(message);
  });

  test('aliases of aliases are not expanded without end', () => {
    const levels = Array.from({ length: 30 }, (_, level) =>
      level === 0 ? 'l0: &l0 [1, 1]' : `l${level}: &l${level} [*l${level - 1}, *l${level - 1}]`,
    );
    expect(refusal(levels.join('\n'))).toContain('Excessive alias count');
  });

  test('nesting is refused before it can overflow the stack', () => {
    const position = 'nested at most 100 deep, got more at line 2, column';
    expect(refusal(`# deep\n${'['.repeat(200_000)}`)).toContain(`${position} 100`);
    expect(refusal(`# deep\n${'['.repeat(3000)}${']'.repeat(3000)}`)).toContain(`${position} 100`);
    expect(refusal(`# deep\n${'{"a":'.repeat(20_000)}`)).toContain(position);
    expect(refusal(`# deep\n${'- '.repeat(20_000)}a`)).toContain(position);
    expect(refusal(`# deep\n${'? '.repeat(20_000)}a`)).toContain(position);
    const lines = Array.from({ length: 500 }, (_, depth) => `${' '.repeat(depth)}a:`);
    expect(refusal(lines.join('\n'))).toContain('nested at most 100 deep, got more at line');
  });

  test('merge keys are followed', () => {
    const config = MoEConfig.parse(
      'base: &base {expert_num: 8}\nmoe_config:\n  <<: *base\n  num_experts_chosen: 2',
    );
    expect([config.expertNum, config.numExpertsChosen]).toEqual([8, 2]);
  });

  test('random text gives a config or a ConfigError, nothing else', () => {
    const pieces = [
      ...mixtral.split('\n'),
      ...'{}[]:,&*!|>%@`"\'\\\t\n -#?~<<0123.eE+_é\u0000\u{1f600}',
    ];
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 3000; ++round) {
      const cut = random(mixtral.length);
      const noise = Array.from({ length: random(20) }, () => pieces[random(pieces.length)]).join(
        random(2) ? '\n' : '',
      );
      const text =
        round % 2 ? noise : mixtral.slice(0, cut) + noise + mixtral.slice(cut + random(8));
      try {
        MoEConfig.parse(text);
      } catch (error) {
        expect(error, JSON.stringify(text)).toBeInstanceOf(ConfigError);
      }
    }
  });
});
