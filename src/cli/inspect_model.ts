// What a checkpoint is as a whole model.
import { MoEError } from '../base/errors.js';
import { deviceAt, resolveDevice } from '../binding/devices.js';
import type { NativeAttention } from '../binding/model.js';
import type { MoECheckpoint } from '../checkpoint/checkpoint.js';
import type { ModelDescription } from '../model/describe.js';
import { foretell, heldByCpu } from '../model/foretell.js';
import { checkModel, readDescription } from '../model/load.js';
import { openText } from '../model/open_text.js';
import { packedBytes } from '../model/packed/size.js';
import { ModelSize } from '../model/size.js';
import { reasoningOf } from '../text/channels.js';
import { toolCallsOf } from '../text/tool_calls.js';

/** A checkpoint as a whole model. */
export interface ModelFacts {
  /** Whether it can be run. */
  runs: boolean;
  /** Why not. */
  reason: string | null;
  /** Whether it is held as it was packed, and in no other way. */
  packed: boolean;
  /** What it takes where it is held as it is stored. Null where it cannot be run. */
  asStored: { weightBytes: number; embeddingBytes: number } | null;
  /** Null where the config is not that of a model that is known. */
  description: Described | null;
}

type Described = Awaited<ReturnType<typeof described>>;

/** By the functions that load it, without its weights. */
export async function modelFacts(checkpoint: MoECheckpoint): Promise<ModelFacts> {
  const { tensors } = checkpoint;
  const { folder } = tensors;
  const device = resolveDevice('cpu');
  let facts: Described | null = null;
  try {
    const { config, description, text } = await readDescription(tensors);
    facts = await described(config, description, { folder, ...(text && { text }) });
    const source = await checkModel(checkpoint, folder, description, device);
    if (source.inPlace) {
      const { held: weightBytes, embedding: embeddingBytes } = await packedBytes(checkpoint);
      const asStored = { weightBytes, embeddingBytes };
      return { runs: true, reason: null, packed: true, asStored, description: facts };
    }
    const size = await ModelSize.of(checkpoint, source, description);
    const published = size.weightBytes({ weightType: 'published' }, heldByCpu).held;
    facts = { ...facts, weightBytes: { ...facts.weightBytes, published } };
    const asStored = {
      weightBytes: size.weightBytes({}, deviceAt(device)?.weights).held,
      embeddingBytes: size.embeddingBytes,
    };
    return { runs: true, reason: null, packed: false, asStored, description: facts };
  } catch (error) {
    if (!(error instanceof MoEError)) throw error;
    const { message: reason } = error;
    return { runs: false, reason, packed: false, asStored: null, description: facts };
  }
}

async function described(
  config: Readonly<Record<string, unknown>>,
  description: ModelDescription,
  files: Parameters<typeof openText>[0],
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
    ...(await textOf(files)),
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
async function textOf(files: Parameters<typeof openText>[0]) {
  const { tokenizer, template } = await openText(files);
  if (tokenizer instanceof Error)
    return { tokenizer: null, noTokenizer: tokenizer.message, chat: null };
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
