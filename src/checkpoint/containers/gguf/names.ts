// A GGUF file's tensors by the names that checkpoints of the family have, experts one by one.
import { CheckpointError } from '../../../base/errors.js';
import type { TensorEntry } from '../header.js';
import { quote } from '../json_reader.js';
import type { GgufModel } from './config.js';
import type { GgufFamily } from './families.js';
import type { GgufFile } from './file.js';
import type { GgufTensor } from './reader.js';

/** What a tensor of a layer is in a checkpoint; undefined where it is none of that family. */
type Named = (family: GgufFamily) => string | undefined;

const inShared =
  (part: string): Named =>
  ({ shared }) =>
    shared && `${shared}.${part}`;
const inAttention =
  (part: string): Named =>
  () =>
    `self_attn.${part}`;

/** Tensors of a layer that are one tensor each. */
const single: Readonly<Record<string, Named>> = {
  'attn_norm.weight': () => 'input_layernorm.weight',
  'attn_q.weight': inAttention('q_proj.weight'),
  'attn_q.bias': inAttention('q_proj.bias'),
  'attn_k.weight': inAttention('k_proj.weight'),
  'attn_k.bias': inAttention('k_proj.bias'),
  'attn_v.weight': inAttention('v_proj.weight'),
  'attn_v.bias': inAttention('v_proj.bias'),
  'attn_output.weight': inAttention('o_proj.weight'),
  'attn_output.bias': inAttention('o_proj.bias'),
  'attn_q_norm.weight': inAttention('q_norm.weight'),
  'attn_k_norm.weight': inAttention('k_norm.weight'),
  'attn_sinks.weight': inAttention('sinks'),
  attn_sinks: inAttention('sinks'),
  'attn_q_a.weight': inAttention('q_a_proj.weight'),
  'attn_q_a_norm.weight': inAttention('q_a_layernorm.weight'),
  'attn_q_b.weight': inAttention('q_b_proj.weight'),
  'attn_kv_a_mqa.weight': inAttention('kv_a_proj_with_mqa.weight'),
  'attn_kv_a_norm.weight': inAttention('kv_a_layernorm.weight'),
  'attn_kv_b.weight': inAttention('kv_b_proj.weight'),
  'attn_k_b.weight': inAttention('k_b_proj.weight'),
  'attn_v_b.weight': inAttention('v_b_proj.weight'),
  'ffn_norm.weight': () => 'post_attention_layernorm.weight',
  'post_attention_norm.weight': () => 'post_attention_layernorm.weight',
  'ffn_gate.weight': () => 'mlp.gate_proj.weight',
  'ffn_up.weight': () => 'mlp.up_proj.weight',
  'ffn_down.weight': () => 'mlp.down_proj.weight',
  'ffn_gate_inp.weight': ({ router }) => router,
  'ffn_gate_inp.bias': () => 'mlp.router.bias',
  'exp_probs_b.bias': () => 'mlp.gate.e_score_correction_bias',
  'ffn_gate_shexp.weight': inShared('gate_proj.weight'),
  'ffn_up_shexp.weight': inShared('up_proj.weight'),
  'ffn_down_shexp.weight': inShared('down_proj.weight'),
  'ffn_gate_inp_shexp.weight': () => 'mlp.shared_expert_gate.weight',
};

/**
 * What stands beside weights instead of in them, under their name: a factor of all of NVFP4's, and the static scale of
 * what they are multiplied with.
 */
const beside = /\.(scale|input_scale)$/;

const outer: Readonly<Record<string, string>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

const parts = ['gate', 'up', 'down'] as const;
const stacked = /^ffn_(gate|up|down)_exps\.(weight|bias|scale|input_scale)$/;
const numbered = /^ffn_(gate|up|down)\.(\d+)\.weight$/;

/**
 * The tensors of a file.
 *
 * @throws `CheckpointError` for a tensor whose name is not known
 */
export function namedTensors(file: GgufFile, model: GgufModel): TensorEntry[] {
  return file.tensors.flatMap((tensor) => {
    const [, layer, local] = /^blk\.(\d+)\.(.+)$/.exec(tensor.name) ?? [];
    const whole = entryOf(file, tensor, tensor.name, {});
    if (local === undefined) {
      const name =
        outer[tensor.name] ??
        nameBeside(tensor.name, (weight) =>
          weight === 'output.weight' ? outer[weight] : undefined,
        );
      if (name === undefined) throw unknown(file, tensor);
      return [{ ...whole, name }];
    }
    return layerEntries(file, tensor, model, local).map((entry) => ({
      ...entry,
      name: `model.layers.${layer}.${entry.name}`,
    }));
  });
}

function layerEntries(
  file: GgufFile,
  tensor: GgufTensor,
  { family, headSize, experts }: GgufModel,
  local: string,
): TensorEntry[] {
  const ofPart = (part: string | undefined) =>
    family.experts[parts.indexOf(part as (typeof parts)[number])] as string;
  const [, part, kind] = stacked.exec(local) ?? [];
  if (part !== undefined) {
    const [stackedOnes, ...shape] = tensor.shape;
    if (stackedOnes !== experts)
      throw new CheckpointError(
        `Expected tensor ${quote(tensor.name)} in ${file.path} to be of ${experts} experts, as the metadata says, got ${stackedOnes}`,
      );
    return Array.from({ length: experts }, (_, expert) =>
      entryOf(file, tensor, `${ofPart(part).replace('{e}', String(expert))}.${kind}`, {
        ...{ shape, part: expert, of: experts },
      }),
    );
  }
  const [, partOfOne, expert = ''] = numbered.exec(local) ?? [];
  if (partOfOne !== undefined)
    return [entryOf(file, tensor, `${ofPart(partOfOne).replace('{e}', expert)}.weight`, {})];
  if (local.startsWith('nextn.')) return [entryOf(file, tensor, local, {})];
  const name = nameBeside(local, (weight) => single[weight]?.(family));
  const rotated = /^attn_[qk]\.(weight|bias)$/.exec(local);
  if (name === undefined || (family.paired && rotated?.[1] === 'bias')) throw unknown(file, tensor);
  // What heads share a tensor for: matrices of every head, one below the other.
  const shape = /^attn_[kv]_b\./.test(local) ? flattened(tensor.shape) : tensor.shape;
  return [
    {
      ...entryOf(file, tensor, name, { shape }),
      ...(family.paired && rotated && { pairedRows: headSize }),
    },
  ];
}

/** Of weights or what stands beside them. */
function nameBeside(
  name: string,
  nameOf: (weight: string) => string | undefined,
): string | undefined {
  const [ending] = beside.exec(name) ?? [];
  if (ending === undefined) return nameOf(name);
  return nameOf(name.replace(beside, '.weight'))?.replace(/\.weight$/, ending);
}

/** A tensor, or one of equal parts of it. */
function entryOf(
  file: GgufFile,
  tensor: GgufTensor,
  name: string,
  {
    shape = tensor.shape,
    part = 0,
    of = 1,
  }: { shape?: readonly number[]; part?: number; of?: number },
): TensorEntry {
  const byteLength = tensor.byteLength / of;
  return {
    ...{ name, ownName: tensor.name, shape, byteLength, dtype: tensor.type.dtype },
    byteOffset: file.dataStart + tensor.offset + part * byteLength,
  };
}

const flattened = (shape: readonly number[]): readonly number[] =>
  shape.length === 3 ? [(shape[0] as number) * (shape[1] as number), shape[2] as number] : shape;

const unknown = ({ path }: GgufFile, { name }: GgufTensor) =>
  new CheckpointError(
    `Expected the tensors of ${path} to be those of its architecture, got ${quote(name)}: what it is for is not known`,
  );
