// What people give that is no checkpoint, and what they are told.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MoECheckpoint } from '../../src/checkpoint/checkpoint.js';
import { MoEModel } from '../../src/model/model.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';
import { writtenModel } from '../model/fixture.js';

async function folderOf(...names: string[]): Promise<string> {
  const folder = await temporaryFolder();
  for (const name of names) await writeFile(join(folder, name), 'GGUF\x03\0\0\0\x01\0\0\0');
  return folder;
}

test.each<[string, () => Promise<string>, string | RegExp]>([
  ['nothing', async () => join(await folderOf(), 'none'), 'got nothing there'],
  ['an empty folder', () => folderOf(), /got a folder with none of them$/],
  ['a folder of a cut GGUF file', () => folderOf('a.gguf'), 'the file is cut'],
  ['a folder of PyTorch', () => folderOf('pytorch_model.bin'), '`save_pretrained` of Python'],
  ['a cut GGUF file', async () => join(await folderOf('a.gguf'), 'a.gguf'), 'the file is cut'],
  [
    'a dense model',
    () => writtenModel({ config: { model_type: 'llama', hidden_size: 8 }, tensors: {} }),
    'got one of type `llama` (string) whose config names none: dense models are not run',
  ],
])('%s', async (_, make, message) => {
  const path = await make();
  await expect(MoECheckpoint.open(path)).rejects.toThrow(message);
  await expect(MoEModel.load(path)).rejects.toThrow(message);
});
