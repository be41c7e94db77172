import { describe, expect, test } from 'vitest';
import { CheckpointError } from '../../../src/base/errors.js';
import { parseHeader, parseHeaderLength } from '../../../src/checkpoint/containers/header.js';
import { fileBytes } from '../../fixtures/safetensors_bytes.js';

const f32 = (shape: unknown, data_offsets: unknown, dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets,
});

function parse(bytes: Uint8Array) {
  const length = parseHeaderLength('x.safetensors', bytes.subarray(0, 8), bytes.byteLength);
  return parseHeader('x.safetensors', bytes.subarray(8, 8 + length), bytes.byteLength);
}

function failure(bytes: Uint8Array): string {
  try {
    parse(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).message).toContain('x.safetensors');
    return (error as CheckpointError).message;
  }
  throw new Error('the header was accepted');
}

describe('a header in order', () => {
  test('gives every tensor its type, shape and place in the file', () => {
    const bytes = fileBytes(
      { b: f32([2, 1], [4, 8], 'BF16'), a: f32([], [0, 4]), c: f32([0, 7], [8, 8], 'I64') },
      8,
    );
    const { tensors } = parse(bytes);
    const dataStart = bytes.byteLength - 8;
    expect([...tensors.values()]).toEqual([
      { name: 'a', dtype: 'F32', shape: [], byteOffset: dataStart, byteLength: 4 },
      { name: 'b', dtype: 'BF16', shape: [2, 1], byteOffset: dataStart + 4, byteLength: 4 },
      { name: 'c', dtype: 'I64', shape: [0, 7], byteOffset: dataStart + 8, byteLength: 0 },
    ]);
  });

  test('keeps the metadata', () => {
    const { metadata } = parse(fileBytes({ __metadata__: { format: 'pt', __proto___: 'x' } }, 0));
    expect([...metadata]).toEqual([
      ['format', 'pt'],
      ['__proto___', 'x'],
    ]);
  });

  test('may be padded with spaces and hold no tensor', () => {
    expect(parse(fileBytes('{ }   \n', 0)).tensors.size).toBe(0);
  });

  test('may name tensors like the members of every object', () => {
    const header =
      '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}';
    const { tensors } = parse(fileBytes(header, 2));
    expect([...tensors.keys()]).toEqual(['__proto__', 'constructor']);
    expect(Object.hasOwn(Object.prototype, 'dtype')).toBe(false);
  });

  test('counts types narrower than a byte', () => {
    expect(parse(fileBytes({ a: f32([4, 2], [0, 4], 'F4') }, 4)).tensors.get('a')?.byteLength).toBe(
      4,
    );
  });
});

describe('a header length', () => {
  test.each([0n, 1n, 3n, 100_000_001n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
    'of %s is refused',
    (length) => {
      expect(failure(fileBytes('{}', 0, length))).toContain(`got a length of ${length}`);
    },
  );

  test('is refused in a file too short to hold one', () => {
    for (let size = 0; size < 8; size++)
      expect(failure(new Uint8Array(size))).toContain(`got ${size} bytes`);
  });
});

describe('a header text', () => {
  test.each([
    ['an array', '[]', 'to begin with "{"'],
    ['space before it', ' {}', 'to begin with "{"'],
    ['a byte order mark', '\ufeff{}', 'to begin with "{"'],
    ['no end', '{"a":', 'got the end of the text'],
    ['something after it', '{}{}', 'nothing more at character 2'],
    ['a comma too many', '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}', 'a string'],
    ['an unknown escape', '{"\\q":1}', 'a string at character 1'],
    ['a line break in a name', '{"a\nb":1}', 'a string at character 1'],
    [
      'a name twice',
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      'the key "a" once',
    ],
    [
      'a field twice',
      '{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
      'the key "dtype" once',
    ],
    ['metadata that is no text', '{"__metadata__":{"a":1}}', 'a string'],
    ['metadata that is no object', '{"__metadata__":"a"}', '"{"'],
    ['a number for a tensor', '{"a":1}', '"{"'],
    ['null for a tensor', '{"a":null}', '"{"'],
    ['endless nesting', `{"a":${'['.repeat(100_000)}`, '"{"'],
  ])('with %s is refused', (_, text, message) => {
    expect(failure(fileBytes(text, 1))).toContain(message);
  });

  test('that is not UTF-8 is refused', () => {
    const bytes = fileBytes('{"a":1}', 0);
    bytes[10] = 0xff;
    expect(failure(bytes)).toContain('UTF-8');
  });
});

describe('a tensor', () => {
  const text = (fields: string) => `{"a":{${fields}}}`;
  test.each([
    ['no dtype', text('"shape":[1],"data_offsets":[0,4]'), 'the field dtype'],
    ['no shape', text('"dtype":"F32","data_offsets":[0,4]'), 'the field shape'],
    ['no data_offsets', text('"dtype":"F32","shape":[1]'), 'the field data_offsets'],
    [
      'an unknown field',
      text('"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]'),
      'got "strides"',
    ],
    ['an unknown type', { a: f32([1], [0, 4], 'F33') }, 'got "F33"'],
    ['a type that every object has', { a: f32([1], [0, 4], 'constructor') }, 'got "constructor"'],
    ['a number as type', { a: f32([1], [0, 4], 32) }, 'a string'],
    ['a number as shape', { a: f32(1, [0, 4]) }, '"["'],
    ['a negative size', { a: f32([-1], [0, 4]) }, 'an integer from 0'],
    ['a broken size', { a: f32([1.5], [0, 4]) }, 'an integer from 0'],
    ['a text as size', { a: f32(['1'], [0, 4]) }, 'an integer from 0'],
    ['a size above 2^53', { a: f32([2 ** 53], [0, 4]) }, 'an integer from 0'],
    ['more elements than 2^53', { a: f32([2 ** 30, 2 ** 30], [0, 4]) }, 'below 2^53'],
    ['one offset', { a: f32([1], [0]) }, 'two data_offsets'],
    ['three offsets', { a: f32([1], [0, 4, 8]) }, 'two data_offsets'],
    ['offsets out of order', { a: f32([1], [4, 0]) }, 'two data_offsets'],
    ['offsets outside the data', { a: f32([2], [0, 8]) }, 'two data_offsets in order, from 0 to 4'],
    ['a shape larger than its bytes', { a: f32([2], [0, 4]) }, 'to have 8 bytes of data'],
    ['a shape smaller than its bytes', { a: f32([0], [0, 4]) }, 'to have 0 bytes of data'],
    ['half a byte', { a: f32([1], [0, 1], 'F4') }, 'whole bytes'],
  ])('with %s is refused by name', (_, header, message) => {
    const got = failure(fileBytes(header, 4));
    expect(got).toContain(message);
    expect(got).toContain('tensor "a"');
  });
});

describe('tensors together', () => {
  test.each([
    ['overlap', { a: f32([2], [0, 8]), b: f32([1], [4, 8]) }, 'tensor "b"', 'an overlap'],
    ['share all bytes', { a: f32([2], [0, 8]), b: f32([2], [0, 8]) }, 'tensor "b"', 'an overlap'],
    ['leave a hole', { a: f32([1], [0, 4]), b: f32([0], [8, 8]) }, 'tensor "b"', 'a hole'],
    ['leave a hole at the start', { a: f32([1], [4, 8]) }, 'tensor "a"', 'a hole'],
    ['leave bytes at the end', { a: f32([1], [0, 4]) }, '8 bytes of data', 'got 4 bytes'],
  ])('that %s are refused', (_, header, name, message) => {
    const got = failure(fileBytes(header, 8));
    expect(got).toContain(name);
    expect(got).toContain(message);
  });
});
