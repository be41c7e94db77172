// @ts-check
// What types of blocks have in common: blocks one after another, and where codes stand in one.

/**
 * @typedef {object} GgufType
 * @property {number} id what files call it
 * @property {number} block values that stand together
 * @property {number} bytes of a block
 * @property {(values: Float32Array) => Uint8Array} encode whole blocks
 */

/**
 * @param {number} id
 * @param {number} block
 * @param {number} bytes
 * @param {(values: Float32Array, block: DataView) => void} encodeBlock writes into zeros
 * @returns {GgufType}
 */
export const blocksOf = (id, block, bytes, encodeBlock) => ({
  ...{ id, block, bytes },
  encode(values) {
    const encoded = new Uint8Array((values.length / block) * bytes);
    for (let i = 0; i < values.length / block; i++)
      encodeBlock(
        values.subarray(block * i, block * (i + 1)),
        new DataView(encoded.buffer, bytes * i, bytes),
      );
    return encoded;
  },
});

/** The value that is farthest from 0. @param {Iterable<number>} values */
export function farthest(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(most)) most = value;
  return most;
}

/** What a scale divides by; nothing becomes of a block of zeros. @param {number} scale */
export const inverse = (scale) => (scale === 0 ? 0 : Math.fround(1 / scale));
/** Halves go away from 0. @param {number} value */
export const round = (value) => Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
/** @param {ArrayBufferView} array */
export const bytesOf = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** @param {DataView} block @param {number} offset @param {number} bits */
export const putBits = (block, offset, bits) =>
  block.setUint8(offset, block.getUint8(offset) | bits);

/**
 * The low four bits of codes, in runs: a run's codes stand in the low halves of bytes, the next one's in their high halves.
 *
 * @param {DataView} block
 * @param {number} offset
 * @param {readonly number[]} codes
 * @param {number} [run]
 */
export function putNibbles(block, offset, codes, run = 16) {
  codes.forEach((code, i) => {
    const pair = Math.floor(i / (2 * run));
    const shift = i % (2 * run) < run ? 0 : 4;
    putBits(block, offset + pair * run + (i % run), (code & 15) << shift);
  });
}

/**
 * Two bits of each of 256 codes: 32 codes in 32 bytes, four times, twice.
 *
 * @param {DataView} block
 * @param {number} offset
 * @param {readonly number[]} codes
 */
export function putPairs(block, offset, codes) {
  codes.forEach((code, i) => {
    const shift = 2 * (Math.floor(i / 32) % 4);
    putBits(block, offset + 32 * Math.floor(i / 128) + (i % 32), (code & 3) << shift);
  });
}

/**
 * A bit of each of up to 256 codes: 32 of them in one bit of 32 bytes.
 *
 * @param {DataView} block
 * @param {number} offset
 * @param {readonly number[]} codes
 */
export function putPlanes(block, offset, codes) {
  codes.forEach((code, i) => {
    putBits(block, offset + (i % 32), (code & 1) << Math.floor(i / 32));
  });
}

/**
 * A bit of each code, side by side.
 *
 * @param {DataView} block
 * @param {number} offset
 * @param {readonly number[]} codes
 */
export function putRow(block, offset, codes) {
  codes.forEach((code, i) => {
    putBits(block, offset + Math.floor(i / 8), (code & 1) << (i % 8));
  });
}
