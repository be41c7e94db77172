/**
 * Types of weights in blocks, as native/core/weights/blocks.cc has them: elements of a block, its bytes, and the bits that
 * the CPU holds each of them in.
 */
export const blockTypes = {
  q4_0: { elements: 32, bytes: 18, heldBits: 4.5 },
  q4_1: { elements: 32, bytes: 20, heldBits: 5 },
  q5_0: { elements: 32, bytes: 22, heldBits: 5.5 },
  q5_1: { elements: 32, bytes: 24, heldBits: 6 },
  q8_0: { elements: 32, bytes: 34, heldBits: 8.5 },
  q2_K: { elements: 256, bytes: 84, heldBits: 5.125 },
  q3_K: { elements: 256, bytes: 110, heldBits: 4.5625 },
  q4_K: { elements: 256, bytes: 144, heldBits: 4.625 },
  q5_K: { elements: 256, bytes: 176, heldBits: 5.625 },
  q6_K: { elements: 256, bytes: 210, heldBits: 6.5625 },
  iq4_nl: { elements: 32, bytes: 18, heldBits: 4.5 },
  iq4_xs: { elements: 256, bytes: 136, heldBits: 4.3125 },
  mxfp4: { elements: 32, bytes: 17, heldBits: 4.25 },
  nvfp4: { elements: 64, bytes: 36, heldBits: 4.625 },
} as const;

/** A type of weights in blocks, in the order of elements that GGUF files have: that of `mxfp4` is not Hugging Face's. */
export type BlockType = keyof typeof blockTypes;

export const isBlockType = (type: string): type is BlockType => Object.hasOwn(blockTypes, type);
