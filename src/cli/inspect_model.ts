// What a checkpoint is as a whole model.
import { MoEError } from '../base/errors.js';
import { resolveDevice } from '../binding/devices.js';
import type { NativeAttention } from '../binding/model.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import { TensorFiles } from '../checkpoint/containers/tensor_files.js';
import type { ModelDescription } from '../model/describe.js';
import { foretell } from '../model/foretell.js';
import { checkModel, readDescription } from '../model/load.js';
import { reasoningOf } from '../text/channels.js';
import { ChatTemplate } from '../text/chat_template.js';
import { CheckpointTokenizer } from '../text/tokenizer.js';
import { toolCallsOf } from '../text/tool_calls.js';

/** A checkpoint as a whole model. */
export interface ModelFacts {
  /** Whether it can be run. */
  runs: boolean;
  /** Why not. */
  reason: string | null;
  /** Null where the config is not that of a model that is known. */
  description: Described | null;
}

type Described = Awaited<ReturnType<typeof described>>;

/** By the functions that load it, without its weights. */
export async function modelFacts(checkpoint: MoECheckpoint): Promise<ModelFacts> {
  const { folder } = await TensorFiles.open(checkpoint.path);
  const device = resolveDevice('cpu');
  let facts: Described | null = null;
  try {
    const { config, description } = await readDescription(folder);
    facts = await described(config, description, folder);
    await checkModel(checkpoint, folder, description, device);
    return { runs: true, reason: null, description: facts };
  } catch (error) {
    if (!(error instanceof MoEError)) throw error;
    return { runs: false, reason: error.message, description: facts };
  }
}

async function described(
  config: Readonly<Record<string, unknown>>,
  description: ModelDescription,
  folder: string,
) {
  const { modelType, layers, ropes, spec, tied, endTokens, sampling, notes } = description;
  const numbersOf = (isDense: boolean) =>
    [...layers.keys()].filter((layer) => (layers[layer]?.dense !== undefined) === isDense);
  return {
    modelType,
    layers: layers.length,
    denseLayers: numbersOf(true),
    expertLayers: numbersOf(false),
    hiddenSize: spec.hiddenSize,
    attention: attentionOf(layers.map(({ attention }) => attention)),
    positions: ropes,
    contextLength: spec.contextLength,
    vocabularySize: spec.vocabularySize,
    tiedHead: tied,
    ...(await textOf(folder)),
    generation: { endTokens, ...sampling },
    ...(await foretell(config, description)),
    notes,
  };
}

/** Kinds of attention, with the layers that have them. */
function attentionOf(all: readonly NativeAttention[]) {
  const kinds = new Map<string, { layers: number[]; attention: NativeAttention }>();
  for (const [layer, attention] of all.entries()) {
    const kind = JSON.stringify(attention);
    const known = kinds.get(kind) ?? { layers: [], attention };
    known.layers.push(layer);
    kinds.set(kind, known);
  }
  return [...kinds.values()].map(({ layers, attention }) => {
    const { kind, heads, kvHeads, headSize, window, rotatedSize } = attention;
    const { nopeSize, valueSize, latentSize, queryLatentSize } = attention;
    const sizes =
      kind === 'grouped'
        ? { kvHeads, headSize }
        : { latentSize, queryLatentSize: queryLatentSize || null, nopeSize, valueSize };
    return { layers, kind, heads, ...sizes, rotatedSize, window: window || null };
  });
}

/** What stands beside the weights and makes text of tokens. */
async function textOf(folder: string) {
  const tokenizer = await CheckpointTokenizer.open(folder).catch((error: Error) => error);
  if (tokenizer instanceof Error)
    return { tokenizer: null, noTokenizer: tokenizer.message, chat: null };
  const template = await ChatTemplate.open(folder, tokenizer);
  const { kind, size, specialTexts } = tokenizer;
  return {
    tokenizer: { kind, size, special: specialTexts },
    noTokenizer: null,
    chat: template && {
      toolCalls: toolCallsOf(template.sourceFor([anyTool])) ?? null,
      reasoning: reasoningOf(template.source) ?? null,
    },
  };
}

const anyTool = { type: 'function', function: { name: '' } } as const;
