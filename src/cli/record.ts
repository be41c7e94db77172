import type { Command } from 'commander';
import { OutputFile } from '../base/output_file.js';
import { TensorFiles } from '../checkpoint/containers/tensor_files.js';
import { encodeSafetensors, type TensorToWrite } from '../checkpoint/containers/write.js';
import { allFiles } from '../checkpoint/model_claims.js';
import type { MoEModel } from '../model/model.js';
import { layerTensor } from './activations.js';
import { integer } from './arguments.js';
import { checkpointArgument, interruptSignal, jsonFlag, print } from './options.js';
import { ProgressLine } from './progress.js';
import { ranges, wrap } from './text.js';
import {
  addModelFlags,
  addPiecesFlags,
  type ModelFlags,
  type PiecesFlags,
  piecesOf,
  textOf,
  withModel,
} from './text_model.js';

type Flags = ModelFlags & PiecesFlags & { out: string; maxTokens: number; json?: true };

export function addRecord(program: Command): void {
  const command = program
    .command('record')
    .description(
      'records what enters the MoE layers of a whole model as it reads a text, for `pack --calibrate`, `run` and `report`',
    )
    .argument(...checkpointArgument)
    .requiredOption('--out <file>', 'the .safetensors file to write')
    .option('--max-tokens <n>', 'tokens that are read at most', integer(2), 2048);
  addModelFlags(addPiecesFlags(command))
    .option(...jsonFlag)
    .action(record);
}

async function record(path: string, flags: Flags): Promise<void> {
  const { out, maxTokens } = flags;
  const signal = interruptSignal();
  const text = await textOf(flags);
  const files = await TensorFiles.open(path);
  await using file = await OutputFile.open('--out', out, {
    read: [flags.text, ...allFiles(files)],
  });
  const use = async (model: MoEModel) => {
    const pieces = await piecesOf(model, text, flags, signal, maxTokens);
    const tokens = Int32Array.from(pieces.flatMap((piece) => [...piece]));
    const experts = model.load();
    const rows = experts.map((load) => (load.length === 0 ? undefined : ([] as Float32Array[])));
    const progress = new ProgressLine('reading');
    let done = 0;
    for (const piece of pieces) {
      for (const [layer, inputs] of (await model.blockInputs(piece, { signal })).entries())
        rows[layer]?.push(inputs);
      done += piece.length;
      progress.update(done, tokens.length);
    }
    progress.end();
    const shape = [tokens.length];
    const tensors: Record<string, TensorToWrite> = {
      token_ids: { dtype: 'I32', shape, data: tokens },
    };
    for (const [layer, inputs] of rows.entries())
      if (inputs !== undefined) {
        const data = joined(inputs);
        const width = data.length / tokens.length;
        tensors[layerTensor('input', layer)] = { dtype: 'F32', shape: [...shape, width], data };
      }
    await file.write(encodeSafetensors(tensors));
    const layers = [...rows.keys()].filter((layer) => rows[layer] !== undefined);
    const result = { out, layers, tokens: tokens.length };
    print(flags.json, result, () =>
      wrap(`${out}: what entered MoE layers ${ranges(layers)} at ${tokens.length} tokens`),
    );
  };
  await withModel(path, flags, signal, use, files);
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}
