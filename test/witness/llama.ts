// llama.cpp's logits of a checkpoint's tensors.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { ggufModel } from '../../bench/gguf/model.mjs';
import type { Rows } from '../../bench/gguf/rows.mjs';
import { type GgufTypeName, writeGguf } from '../../bench/gguf/write.mjs';
import { SafetensorsFile } from '../../src/checkpoint/containers/file.js';
import type { TensorToWrite } from '../../src/checkpoint/containers/write.js';
import { float32, type Tensors } from '../families/spelling.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { floatOf } from '../support/floats.js';

const program = join(import.meta.dirname, '../../bench/peers/llama_logits.mjs');

function rowsOf({ shape, data }: TensorToWrite): Rows {
  const width = shape.at(-1) as number;
  const values = data as Float32Array | Uint8Array;
  return { shape, row: (index) => values.subarray(index * width, (index + 1) * width) };
}

interface Checkpoint {
  config: Record<string, unknown>;
  tensors: Tensors;
}

/** A checkpoint in GGUF's words. Throws where a tensor of it would be passed over. */
export function ggufOf({ config, tensors }: Checkpoint, type: GgufTypeName) {
  const left = new Set(Object.keys(tensors));
  const read = (name: string) => {
    const tensor = tensors[name];
    left.delete(name);
    return tensor && rowsOf(tensor);
  };
  const model = ggufModel(config, read, type);
  if (left.size > 0) throw new Error(`Expected all tensors to be written, left: ${[...left]}`);
  return model;
}

/** llama.cpp's logits of every position, `[T, V]`, of a checkpoint whose matrices are held in a type. */
export async function llamaLogits(
  libraries: string,
  checkpoint: Checkpoint,
  tokens: readonly number[],
  type: GgufTypeName = 'F32',
): Promise<Float32Array> {
  const path = join(await temporaryFolder(), 'model.gguf');
  const { metadata, tensors } = ggufOf(checkpoint, type);
  await writeGguf(path, metadata, tensors);
  const child = spawn(process.execPath, [program, libraries, path], {
    env: { ...process.env, LD_LIBRARY_PATH: libraries },
  });
  const [output, errors] = [text(child.stdout), text(child.stderr)];
  child.stdin.end(JSON.stringify(tokens));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`Expected logits of llama.cpp, got:\n${await errors}`);
  return Float32Array.from((JSON.parse(await output) as number[][]).flat());
}

/** A checkpoint of one file as it is stored, in float32. */
export async function storedModel(folder: string) {
  const file = await SafetensorsFile.open(join(folder, 'model.safetensors'));
  const tensors: Tensors = {};
  for (const name of file.tensors.keys()) {
    const { dtype, shape, data } = await file.readTensor(name);
    tensors[name] = float32(
      shape,
      Array.from(data, (value) => floatOf(dtype, value)),
    );
  }
  const config: Record<string, unknown> = JSON.parse(
    await readFile(join(folder, 'config.json'), 'utf8'),
  );
  return { config, tensors };
}
