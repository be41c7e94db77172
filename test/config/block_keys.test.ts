import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/base/errors.js';
import { MoEConfig } from '../../src/config/config.js';
import { huggingFaceLayerOptions, huggingFaceSizes } from '../../src/config/hugging_face.js';
import { blockKeys, keyAliases } from '../../src/families/keys.js';
import * as models from './model_configs.js';

type Config = Record<string, unknown>;

/** Keys that say which layers have a block, or are of other parts. */
const otherKeys = new RegExp(
  [
    '^(architectures|model_type|auto_map|torch_dtype|transformers_version|quantization_config)$',
    '^(num_hidden_layers|first_k_dense_replace|moe_layer_freq|decoder_sparse_step)$',
    '^(mlp_only_layers|max_window_layers|num_nextn_predict_layers|layer_types)$',
    '^(initializer_range|initial_context_length|rms_norm_eps|clip_qkv|qkv_bias|use_qk_norm)$',
    '^(pretraining_tp|ep_size|seq_aux|output_router_logits|logits_scaling|num_key_value_heads)$',
    '_token_id$|vocab_size|embedding|attention|head_dim|lora_rank|_multiplier$|loss',
    'rope_|rotary|sliding_window|use_cache',
  ].join('|'),
);

/** What a layer of the model is made with, or the refusal. */
function reading(config: Config): unknown {
  try {
    return {
      ...MoEConfig.fromHuggingFace(config),
      ...huggingFaceSizes(config),
      ...huggingFaceLayerOptions(config),
    };
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
}

function otherValue(value: unknown): unknown {
  if (typeof value === 'number') return value * 2 + 1;
  if (typeof value === 'boolean') return !value;
  return 'other';
}

const isBlockKey = (config: Config, key: string) =>
  !otherKeys.test(key) &&
  // Experts that are chosen by themselves have no groups.
  !(config['topk_method'] === 'greedy' && /^(n|topk)_group$/.test(key)) &&
  // The width of dense layers.
  !(key === 'intermediate_size' && 'moe_intermediate_size' in config);

describe.each(Object.values(models))('$model_type', (model) => {
  const config: Config = model;

  test.each(Object.keys(config).filter((key) => isBlockKey(config, key)))(
    'another value of %s is another layer or an error',
    (key) => {
      const changed = { ...config, [key]: otherValue(config[key]) };
      expect(reading(changed)).not.toEqual(reading(config));
    },
  );

  test.each([...blockKeys].filter(([key]) => !(key in config)))(
    '%s of another family is another layer or an error, and says nothing where it says nothing',
    (key, neutral) => {
      const before = reading(config);
      expect(reading({ ...config, [key]: null })).toEqual(before);
      const groups = /^(n_group|topk_group)$/.test(key);
      const ofFamily = /deepseek_v[23]|dots1|glm4/.test(model.model_type);
      const unknown = [
        ...neutral.filter((value) => typeof value === 'boolean').map(otherValue),
        7.5,
      ];
      for (const value of unknown) expect(reading({ ...config, [key]: value })).not.toEqual(before);
      if (!ofFamily && !groups)
        for (const value of neutral) expect(reading({ ...config, [key]: value })).toEqual(before);
    },
  );

  test('every key is read under each of its names', () => {
    const before = reading(config);
    for (const names of keyAliases)
      for (const name of names) {
        const [given] = names.filter((candidate) => candidate in config);
        if (given === undefined) continue;
        const { [given]: value, ...rest } = config;
        expect(reading({ ...rest, [name]: value })).toEqual(before);
        expect(reading({ ...config, [name]: value })).toEqual(before);
        if (name !== given && value !== null) {
          const message = reading({ ...config, [name]: otherValue(value) });
          expect(message).toContain(`\`${given}\``);
          expect(message).toContain(`\`${name}\``);
          expect(message).toContain('to be the same');
        }
      }
  });
});

test('a key that sounds like the block and is not known is named', () => {
  const config = { ...models.qwen3, moe_spice: 3, router_aux_loss_coef: 0.1, vocab_size: 5 };
  expect(MoEConfig.fromHuggingFace(config).diagnostics).toEqual([
    "`moe_spice` of the model's config is not known, and has no effect",
  ]);
});
