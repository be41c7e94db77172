import { chmod, mkdir, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CheckpointError } from '../../../src/base/errors.js';
import { SafetensorsFile } from '../../../src/checkpoint/containers/file.js';
import { encodeSafetensors, writeSafetensors } from '../../../src/checkpoint/containers/write.js';
import { writeTemporary } from '../../fixtures/safetensors_bytes.js';
import { temporaryFolder } from '../../fixtures/temporary_folder.js';

const tensors = {
  ids: { dtype: 'I64', shape: [2], data: new BigInt64Array([-1n, 7n]) },
  flags: { dtype: 'BOOL', shape: [3], data: new Uint8Array([1, 0, 1]) },
  hidden: { dtype: 'F32', shape: [2, 2], data: new Float32Array([1, -2, 3.5, Number.NaN]) },
  half: { dtype: 'BF16', shape: [1, 2], data: new Uint16Array([0x3f80, 0xc000]) },
  none: { dtype: 'F16', shape: [0, 5], data: new Uint16Array(0) },
};

const whole = () => Buffer.concat(encodeSafetensors(tensors, { made: 'here' }));

test('what is written is read back, each tensor at a multiple of its element size', async () => {
  const path = join(await temporaryFolder(), 'x.safetensors');
  await writeSafetensors(path, tensors, { made: 'here' });
  const file = await SafetensorsFile.open(path);
  expect(Object.fromEntries(file.metadata)).toEqual({ made: 'here' });
  expect([...file.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    expect(file.entry(name)).toMatchObject({ dtype, shape });
    expect(file.entry(name).byteOffset % data.BYTES_PER_ELEMENT).toBe(0);
    expect(Buffer.from(await file.readBytes(name))).toEqual(Buffer.from(data.buffer));
  }
  expect(await file.readTensor('hidden')).toEqual({
    dtype: 'float32',
    shape: [2, 2],
    data: tensors.hidden.data,
  });
  expect(await file.readTensor('half')).toEqual({
    dtype: 'bfloat16',
    shape: [1, 2],
    data: tensors.half.data,
  });
});

test('a tensor whose bytes do not fit its shape is not written', () => {
  const wrong = { a: { dtype: 'F32', shape: [3], data: new Float32Array(2) } };
  expect(() => encodeSafetensors(wrong)).toThrow('to have 12 bytes, got 8');
});

test('a tensor that is not there, or not of floats, is refused by name', async () => {
  const file = await SafetensorsFile.open(await writeTemporary(whole()));
  await expect(file.readBytes('hiden')).rejects.toThrow(/tensor "hiden" in .*model.safetensors/);
  await expect(file.readTensor('ids')).rejects.toThrow('to have type F32, BF16 or F16, got I64');
});

test('a file cut anywhere is refused', async () => {
  const bytes = whole();
  const path = await writeTemporary(bytes);
  for (let size = bytes.byteLength - 1; size >= 0; size -= size > 24 ? 7 : 1) {
    await truncate(path, size);
    await expect(SafetensorsFile.open(path), `${size} bytes`).rejects.toBeInstanceOf(
      CheckpointError,
    );
  }
});

test('a file that changed its length after it was opened is refused', async () => {
  const bytes = whole();
  const path = await writeTemporary(bytes);
  const file = await SafetensorsFile.open(path);
  await truncate(path, bytes.byteLength - 1);
  await expect(file.readBytes('hidden')).rejects.toThrow(`Expected ${path} to be as it was`);
});

test('a file that was replaced by one of the same length is refused', async () => {
  const bytes = whole();
  const path = await writeTemporary(bytes);
  const file = await SafetensorsFile.open(path);
  await rename(await writeTemporary(bytes), path);
  await expect(file.readBytes('hidden')).rejects.toThrow(`Expected ${path} to be as it was`);
});

test('a path that cannot be read as a file is a CheckpointError that names it', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'folder.safetensors'));
  await writeFile(join(folder, 'secret.safetensors'), whole());
  await chmod(join(folder, 'secret.safetensors'), 0);
  const paths = [
    'missing.safetensors',
    'folder.safetensors',
    'x\0y.safetensors',
    'folder.safetensors/x',
  ];
  if (process.getuid?.() !== 0) paths.push('secret.safetensors');
  for (const name of paths) {
    const opening = SafetensorsFile.open(join(folder, name));
    await expect(opening, name).rejects.toBeInstanceOf(CheckpointError);
    await expect(opening, name).rejects.toThrow(name.split('\0')[0]);
  }
  await expect(SafetensorsFile.open('/dev/zero')).rejects.toThrow('to be a file, got a device');
});
