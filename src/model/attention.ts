// What a config says of a layer's attention.
import { expectMultiple, unexpected } from '../base/checks.js';
import type { NativeAttention, NativeHeadNorm } from '../binding/model.js';
import type { GroupedRow, LatentRow } from './families/row.js';
import { type ModelKeys, mostHeadSize } from './model_keys.js';

/** Which tensors a layer's attention has beside those that all of its kind have. */
export interface AttentionParts {
  bias: boolean;
  outputBias: boolean;
  norm: boolean;
  sinks: boolean;
  /** `latent`: queries come from a latent row, whose projection may have a bias, or straight from the token. */
  queryLatent: boolean;
  queryLatentBias: boolean;
  plainQuery: boolean;
}

/** Of `latent`: the norms of its latent rows have this whatever `rms_norm_eps` is. */
const latentNormEpsilon = 1e-6;

/** Attention before it is known which layer it is in: without its rotation and its window. */
export interface AttentionFacts {
  attention: Omit<NativeAttention, 'rotation' | 'window'>;
  parts: AttentionParts;
  interleaved: boolean;
}

/** @param part how much of each head is rotated, where heads are not cut in two */
export function attentionOf(
  keys: ModelKeys,
  row: GroupedRow | LatentRow,
  part: number,
): AttentionFacts {
  return row.kind === 'grouped' ? groupedOf(keys, row, part) : latentOf(keys, row);
}

function groupedOf(keys: ModelKeys, row: GroupedRow, part: number): AttentionFacts {
  const heads = keys.integer('num_attention_heads');
  const kvHeads = keys.integer('num_key_value_heads', heads);
  expectMultiple('num_attention_heads', heads, 'num_key_value_heads', kvHeads);
  const headSize = headSizeOf(keys, heads);
  const norm = normOf(keys, row);
  const { clip, scale } = row;
  return {
    attention: {
      ...{
        kind: 'grouped',
        heads,
        kvHeads,
        headSize,
        norm,
        rotatedSize: rotatedOf(headSize, part),
      },
      ...{ nopeSize: 0, valueSize: 0, latentSize: 0, queryLatentSize: 0, latentNormEpsilon },
      scale:
        scale === undefined
          ? headSize ** -0.5
          : typeof scale === 'number'
            ? scale
            : keys.number(scale.key, { above: 0 }, scale.default),
      clip:
        clip === undefined || keys.get(clip) === undefined ? 0 : keys.number(clip, { above: 0 }),
    },
    parts: {
      bias: keys.said(row.bias),
      outputBias: keys.said(row.outputBias),
      norm: norm !== 'none',
      sinks: row.sinks ?? false,
      ...{ queryLatent: false, queryLatentBias: false, plainQuery: false },
    },
    interleaved: false,
  };
}

/** The heads of one vector need not be as wide together as a token. */
function headSizeOf(keys: ModelKeys, heads: number): number {
  const hiddenSize = keys.integer('hidden_size');
  const said = keys.get('head_dim') !== undefined;
  if (!said) expectMultiple('hidden_size', hiddenSize, 'num_attention_heads', heads);
  return keys.integer('head_dim', hiddenSize / heads, mostHeadSize);
}

function normOf(keys: ModelKeys, { norm = 'none' }: GroupedRow): NativeHeadNorm {
  if (typeof norm === 'string') return norm;
  return keys.boolean(norm.key, false) ? norm.is : 'none';
}

/** Numbers of a head that are rotated: an even number of its first ones. */
function rotatedOf(headSize: number, part: number): number {
  const rotated = Math.floor(headSize * part);
  if (rotated % 2 === 1 || rotated < 2)
    throw unexpected(
      'head_dim',
      `a size of which an even number is rotated (${part} of it)`,
      headSize,
    );
  return rotated;
}

function latentOf(keys: ModelKeys, row: LatentRow): AttentionFacts {
  const heads = keys.integer('num_attention_heads');
  const nopeSize = keys.integer('qk_nope_head_dim');
  const rotatedSize = keys.integer('qk_rope_head_dim', undefined, mostHeadSize);
  const queryLatent = !keys.isNull('q_lora_rank');
  if (rotatedSize % 2 === 1) throw unexpected('qk_rope_head_dim', 'even', rotatedSize);
  // Sizes of heads follow from others; the number of key heads means nothing here.
  expectSame(keys, 'head_dim', rotatedSize);
  expectSame(keys, 'qk_head_dim', nopeSize + rotatedSize);
  keys.ignore(['num_key_value_heads']);
  const bias = keys.boolean('attention_bias', false);
  return {
    attention: {
      ...{ kind: 'latent', heads, kvHeads: 1, headSize: 0, norm: 'none', clip: 0 },
      ...{ nopeSize, rotatedSize, valueSize: keys.integer('v_head_dim') },
      latentSize: keys.integer('kv_lora_rank'),
      queryLatentSize: queryLatent ? keys.integer('q_lora_rank') : 0,
      latentNormEpsilon,
      scale: (nopeSize + rotatedSize) ** -0.5,
    },
    parts: {
      ...{ bias, outputBias: bias, norm: false, sinks: false },
      ...{ queryLatent, queryLatentBias: queryLatent && bias, plainQuery: !queryLatent },
    },
    interleaved: keys.said(row.interleaved),
  };
}

function expectSame(keys: ModelKeys, key: 'head_dim' | 'qk_head_dim', size: number): void {
  const value = keys.get(key);
  if (value !== undefined && value !== size)
    throw unexpected(key, `left out or ${size}, which follows from other keys`, value);
}
