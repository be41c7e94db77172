// The whole `config.json` of published models.
import { readFileSync } from 'node:fs';

export interface ModelConfig {
  readonly model_type: string;
  readonly [key: string]: unknown;
}

function published(model: string): ModelConfig {
  const path = new URL(`../data/configs/${model}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8'));
}

export const mixtral = published('Mixtral-8x7B-v0.1');
export const qwen2 = published('Qwen1.5-MoE-A2.7B');
export const qwen3 = published('Qwen3-30B-A3B');
export const qwen3Coder = published('Qwen3-Coder-30B-A3B-Instruct');
export const olmoe = published('OLMoE-1B-7B-0924');
export const deepseekV2Lite = published('DeepSeek-V2-Lite');
export const deepseekV2 = published('DeepSeek-V2');
export const deepseekV3 = published('DeepSeek-V3');
export const glm4 = published('GLM-4.5-Air');
export const dots1 = published('dots.llm1.base');
export const gptOss = published('gpt-oss-20b');
export const granite = published('granite-3.0-3b-a800m-base');
export const granite1b = published('granite-3.0-1b-a400m-base');
export const graniteShared = {
  ...granite,
  model_type: 'granitemoeshared',
  shared_intermediate_size: 1024,
};
