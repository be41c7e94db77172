import { expect, test } from 'vitest';
import { CheckpointError } from '../../../src/base/errors.js';
import { parseHeader, parseHeaderLength } from '../../../src/checkpoint/containers/header.js';
import { encodeSafetensors } from '../../../src/checkpoint/containers/write.js';

/** How long to look for a header that is refused by anything but a CheckpointError. */
const seconds = Number(process.env.MOE_FUZZ_SECONDS ?? 5);
const seed = Number(process.env.MOE_FUZZ_SEED ?? Date.now() % 2 ** 31);

/** Pieces that turn one valid thing into another that is nearly valid. */
const pieces = [
  ...'{}[]",:\\ 0123456789-+.eE',
  '"dtype"',
  '"shape"',
  '"data_offsets"',
  '"__metadata__"',
  '"__proto__"',
  '"F32"',
  '"BF16"',
  '\\u0000',
  '\ud800',
  '1e309',
  '9007199254740993',
  '18446744073709551616',
  'null',
  'true',
  '[[[[',
  '{"a":{',
];

/** A small generator of random integers below `n`, the same on every run with one seed. */
function randomOf(state: number) {
  return (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

test(`only CheckpointErrors come out of ${seconds} s of damaged headers (seed ${seed})`, {
  timeout: (seconds + 30) * 1000,
}, () => {
  const random = randomOf(seed);
  const valid = Buffer.concat(
    encodeSafetensors(
      {
        'model.layers.0.mlp.gate.weight': {
          dtype: 'BF16',
          shape: [2, 3],
          data: new Uint16Array(6),
        },
        b: { dtype: 'F32', shape: [2], data: new Float32Array(2) },
        'c\u00e9': { dtype: 'U8', shape: [0, 4], data: new Uint8Array(0) },
      },
      { format: 'pt' },
    ),
  );
  const end = Date.now() + seconds * 1000;
  let refused = 0;
  let accepted = 0;
  while (Date.now() < end) {
    const bytes = mutate(valid, random);
    try {
      const length = parseHeaderLength('x', bytes.subarray(0, 8), bytes.byteLength);
      const { tensors } = parseHeader('x', bytes.subarray(8, 8 + length), bytes.byteLength);
      const covered = [...tensors.values()].reduce(
        (sum, { byteLength }) => sum + byteLength,
        8 + length,
      );
      expect(covered).toBe(bytes.byteLength);
      accepted++;
    } catch (error) {
      if (!(error instanceof CheckpointError))
        throw new Error(`seed ${seed}: ${bytes.toString('latin1')}`, { cause: error });
      expect(error.message.length).toBeLessThan(2000);
      refused++;
    }
  }
  // Harmless mutations (inside a name) and harmful ones must both occur, or nothing was tested.
  expect(refused).toBeGreaterThan(accepted);
  expect(accepted).toBeGreaterThan(0);
});

/** One to four of: a byte changed, a piece put in, a range cut out or doubled, the end cut off. */
function mutate(valid: Buffer, random: (n: number) => number): Buffer {
  let bytes = Buffer.from(valid);
  const header = bytes.readUInt8(0) + 8;
  for (let rounds = 1 + random(4); rounds > 0; rounds--) {
    const at =
      random(2) === 0
        ? random(bytes.byteLength + 1)
        : random(Math.min(header, bytes.byteLength) + 1);
    const length = random(12);
    const before = bytes.subarray(0, at);
    switch (random(5)) {
      case 0:
        if (at < bytes.byteLength) bytes[at] = random(256);
        break;
      case 1:
        bytes = Buffer.concat([
          before,
          Buffer.from(pieces[random(pieces.length)] ?? ''),
          bytes.subarray(at),
        ]);
        break;
      case 2:
        bytes = Buffer.concat([before, bytes.subarray(at + length)]);
        break;
      case 3:
        bytes = Buffer.concat([before, bytes.subarray(Math.max(0, at - length))]);
        break;
      default:
        bytes = Buffer.from(bytes.subarray(0, Math.max(0, bytes.byteLength - random(20))));
    }
    // Without a matching length most mutations would stop at it.
    if (random(3) > 0 && bytes.byteLength >= 8)
      bytes.writeBigUInt64LE(BigInt(Math.max(0, bytes.byteLength - 20)), 0);
  }
  return bytes;
}
