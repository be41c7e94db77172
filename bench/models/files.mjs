// Checkpoints with made-up weights: safetensors for node-moe, GGUF of the same weights for llama.cpp.
import { existsSync } from 'node:fs';
import { mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeHeader } from '../../dist/checkpoint/containers/write.js';
import { ggufTypes } from '../gguf/types.mjs';
import { writeGguf } from '../gguf/write.mjs';
import { elements } from './shapes.mjs';

/** Every tensor is a stretch of these values, which are exact in bfloat16; where it begins makes it another. */
const period = 2 ** 22;
/** Of which all of them are multiples: blocks of GGUF types begin at one. */
const block = 32;

let made;
/** Sums of random numbers, near a normal distribution, about as large as a projection of 2,048 inputs keeps its scale. */
function noise() {
  if (made !== undefined) return made;
  made = new Float32Array(period);
  const bits = new Uint32Array(made.buffer);
  let state = 1;
  for (let i = 0; i < period; i++) {
    let sum = 0;
    for (let n = 0; n < 4; n++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      sum += state / 2 ** 32 - 0.5;
    }
    made[i] = sum / 2 ** 5;
    bits[i] &= 0xffff0000;
  }
  return made;
}

/** Stretches of `encoded`, which has all of the noise, that make up the `index`-th tensor. */
function* stretches(encoded, index, shape) {
  const bytes = encoded.length / (period / block);
  let at = (index * 1000003) % (period / block);
  for (let left = elements(shape) / block; left > 0; ) {
    const count = Math.min(left, period / block - at);
    yield encoded.subarray(at * bytes, (at + count) * bytes);
    left -= count;
    at = 0;
  }
}

/** Numbers the tensors of safetensors files, by which GGUF files find the same stretches. */
function numbered({ tensors }) {
  let next = 0;
  return tensors.map((tensor) => ({
    ...tensor,
    parts: tensor.names.map((name) => ({ name, index: next++ })),
  }));
}

/** All of the noise in a type of GGUF files; bfloat16 is as safetensors has it. */
const encodedNoise = (type) => ggufTypes[type].encode(noise());

const bytesOfOnes = (type, { shape }) =>
  ggufTypes[type].encode(new Float32Array(elements(shape)).fill(1));

/** Makes the file unless it is there: a run that is cut short leaves none. */
async function once(path, write) {
  if (existsSync(path)) return;
  await write(`${path}.part`);
  await rename(`${path}.part`, path);
}

/** The folder of a checkpoint in bfloat16, written where it is not there. */
export async function checkpointOf(model, folder) {
  const path = join(folder, `${model.name}-${model.layers}`);
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'config.json'), JSON.stringify(model.config));
  await once(join(path, 'model.safetensors'), async (part) => {
    const tensors = numbered(model);
    const header = {};
    let end = 0;
    for (const { parts, shape } of tensors)
      for (const { name } of parts) {
        const begin = end;
        end += 2 * elements(shape);
        header[name] = { dtype: 'BF16', shape, data_offsets: [begin, end] };
      }
    const file = await open(part, 'w');
    try {
      await file.appendFile(encodeHeader(header, 8));
      const encoded = encodedNoise('BF16');
      for (const tensor of tensors)
        for (const { index } of tensor.parts)
          for (const bytes of tensor.ones
            ? [bytesOfOnes('BF16', tensor)]
            : stretches(encoded, index, tensor.shape))
            await file.appendFile(bytes);
    } finally {
      await file.close();
    }
  });
  return path;
}

/** The path of a GGUF file, written where it is not there. */
export async function ggufOf(model, type, folder) {
  const path = join(folder, `${model.name}-${model.layers}.${type}.gguf`);
  await mkdir(folder, { recursive: true });
  await once(path, async (part) => {
    const encoded = { [type]: encodedNoise(type), F32: encodedNoise('F32') };
    const tensors = numbered(model).map((tensor) => {
      const held = tensor.plain ? 'F32' : type;
      const stacked = tensor.parts.length > 1 ? [tensor.parts.length] : [];
      return {
        ...{ name: tensor.ggufName, type: held, shape: [...stacked, ...tensor.shape] },
        rows: function* () {
          if (tensor.ones) yield bytesOfOnes(held, tensor);
          else
            for (const { index } of tensor.parts)
              yield* stretches(encoded[held], index, tensor.shape);
        },
      };
    });
    await writeGguf(part, metadataOf(model), tensors);
  });
  return path;
}

function metadataOf({ config, headSize, expertSize, layers, gguf }) {
  const { architecture, expertSizeKey } = gguf;
  const keys = {
    ...{ feed_forward_length: config.intermediate_size, [expertSizeKey]: expertSize },
    ...{ block_count: layers, context_length: config.max_position_embeddings },
    ...{ embedding_length: config.hidden_size, vocab_size: config.vocab_size },
    'attention.head_count': config.num_attention_heads,
    'attention.head_count_kv': config.num_key_value_heads,
    ...{ 'attention.key_length': headSize, 'attention.value_length': headSize },
    'rope.dimension_count': headSize,
    ...{ expert_count: config.num_experts, expert_used_count: config.num_experts_per_tok },
  };
  const floats = {
    'rope.freq_base': config.rope_theta,
    'attention.layer_norm_rms_epsilon': config.rms_norm_eps,
  };
  const named = (entries, type) =>
    Object.entries(entries).map(([key, value]) => [`${architecture}.${key}`, [type, value]]);
  return {
    'general.architecture': ['string', architecture],
    ...Object.fromEntries([...named(keys, 'u32'), ...named(floats, 'f32')]),
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', 'qwen2'],
    'tokenizer.ggml.tokens': ['string[]', madeUpTokens(config.vocab_size)],
    'tokenizer.ggml.token_type': ['i32[]', new Array(config.vocab_size).fill(1)],
    'tokenizer.ggml.merges': ['string[]', ['h e']],
    'tokenizer.ggml.bos_token_id': ['u32', config.vocab_size - 2],
    'tokenizer.ggml.eos_token_id': ['u32', config.vocab_size - 1],
  };
}

/** The letters that stand for bytes in GPT-2's vocabulary, then words. */
function madeUpTokens(count) {
  let next = 0x100;
  return Array.from({ length: count }, (_, token) => {
    if (token > 255) return `token${token}`;
    const printable = (token > 32 && token < 127) || (token > 160 && token !== 173);
    return String.fromCodePoint(printable ? token : next++);
  });
}
