import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CheckpointError } from '../../src/errors.js';
import { TensorFiles } from '../../src/safetensors/tensor_files.js';
import { writeSafetensors } from '../../src/safetensors/write.js';
import { temporaryFolder } from '../fixtures/temporary_folder.js';

const one = { dtype: 'U8', shape: [1], data: new Uint8Array(1) };

/** `a` in one.safetensors, `b` in two.safetensors, and an index with this text. */
async function sharded(index: string | object): Promise<string> {
  const folder = await temporaryFolder();
  await writeSafetensors(join(folder, 'one.safetensors'), { a: one });
  await writeSafetensors(join(folder, 'two.safetensors'), { b: one });
  const text = typeof index === 'string' ? index : JSON.stringify(index);
  await writeFile(join(folder, 'model.safetensors.index.json'), text);
  return folder;
}

const weight_map = { a: 'one.safetensors', b: 'two.safetensors' };

test('a folder with one file lists its tensors', async () => {
  const folder = await temporaryFolder();
  await writeSafetensors(join(folder, 'model.safetensors'), { a: one, b: one });
  const files = await TensorFiles.open(folder);
  expect([...files.names]).toEqual(['a', 'b']);
  expect((await files.fileOf('b')).path).toBe(join(folder, 'model.safetensors'));
});

test('a folder with an index opens only the files that are asked for', async () => {
  const folder = await sharded({ metadata: { total_size: 2 }, weight_map });
  await writeFile(join(folder, 'two.safetensors'), 'damaged');
  const files = await TensorFiles.open(folder);
  expect([...files.names]).toEqual(['a', 'b']);
  expect((await files.fileOf('a')).path).toBe(join(folder, 'one.safetensors'));
  await expect(files.fileOf('b')).rejects.toThrow('two.safetensors');
});

test('a file that was missing can be asked for again once it is there', async () => {
  const folder = await sharded({ weight_map });
  await rm(join(folder, 'two.safetensors'));
  const files = await TensorFiles.open(join(folder, 'model.safetensors.index.json'));
  expect(await files.present(['a'])).toBe(true);
  expect(await files.present(['a', 'b'])).toBe(false);
  await expect(files.fileOf('b')).rejects.toThrow(/tensor "b" in .*two.safetensors.*no such file/);
  await writeSafetensors(join(folder, 'two.safetensors'), { b: one });
  expect((await files.fileOf('b')).tensors.size).toBe(1);
});

test("MindFormers' table of names is read", async () => {
  const folder = await sharded('');
  await rm(join(folder, 'model.safetensors.index.json'));
  await writeFile(join(folder, 'param_name_map.json'), JSON.stringify(weight_map));
  expect([...(await TensorFiles.open(folder)).names]).toEqual(['a', 'b']);
});

test('a tensor that the index promises and the file does not hold is named', async () => {
  const files = await TensorFiles.open(
    await sharded({ weight_map: { ...weight_map, c: 'two.safetensors' } }),
  );
  await expect(files.fileOf('c')).rejects.toThrow(/tensor "c" in .*two.safetensors, got none/);
  await expect(files.fileOf('d')).rejects.toThrow(/tensor "d" in .*index.json, got none/);
});

test.each([
  '../one.safetensors',
  '/etc/passwd',
  'sub/one.safetensors',
  '..\\one.safetensors',
  'C:one.safetensors',
  '..',
  '.',
  '',
  'one\0.safetensors',
])('an index that names the file %j is refused', async (file) => {
  const opening = TensorFiles.open(await sharded({ weight_map: { a: file } }));
  await expect(opening).rejects.toBeInstanceOf(CheckpointError);
  await expect(opening).rejects.toThrow('the name of a file beside it for tensor "a"');
});

test.each([
  ['empty', '', '"{"'],
  ['no object', '[]', '"{"'],
  ['cut', '{"weight_map":{"a":', 'a string'],
  ['without a table', '{"metadata":{"a":[1,{"b":null}]}}', 'got JSON with "metadata"'],
  ['empty', '{}', 'got JSON with nothing in it'],
  ['with an empty table', '{"weight_map":{}}', 'a weight_map'],
  ['with a table that is none', '{"weight_map":3}', '"{"'],
  ['with a number for a file', '{"weight_map":{"a":1}}', 'a string'],
  [
    'with a tensor twice',
    '{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}',
    'the key "a" once',
  ],
  ['nested without end', `{"x":${'['.repeat(50_000)}`, 'at most 16 levels'],
])('an index that is %s is refused', async (_, text, message) => {
  const folder = await sharded(text);
  const opening = TensorFiles.open(folder);
  await expect(opening).rejects.toBeInstanceOf(CheckpointError);
  await expect(opening).rejects.toThrow(message);
  await expect(opening).rejects.toThrow(join(folder, 'model.safetensors.index.json'));
});

test('a folder without weights, and a path with nothing, are refused', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'empty'));
  await expect(TensorFiles.open(join(folder, 'empty'))).rejects.toThrow(
    'to hold model.safetensors',
  );
  await expect(TensorFiles.open(join(folder, 'none'))).rejects.toBeInstanceOf(CheckpointError);
});

test('JSON that is no checkpoint is told from an index that is damaged', async () => {
  await expect(TensorFiles.open('package.json')).rejects.toThrow(
    /package\.json to be a checkpoint: its folder, a \.safetensors file, or an index .*\(model\.safetensors\.index\.json, .*got JSON with "name", "version", "description", …$/,
  );
});
