/** Types of weights in blocks, as native/core/weights/blocks.cc has them: elements of a block, and its bytes. */
export const blockTypes = {
  q4_0: { elements: 32, bytes: 18 },
  q4_1: { elements: 32, bytes: 20 },
  q5_0: { elements: 32, bytes: 22 },
  q5_1: { elements: 32, bytes: 24 },
  q8_0: { elements: 32, bytes: 34 },
  q2_K: { elements: 256, bytes: 84 },
  q3_K: { elements: 256, bytes: 110 },
  q4_K: { elements: 256, bytes: 144 },
  q5_K: { elements: 256, bytes: 176 },
  q6_K: { elements: 256, bytes: 210 },
  iq4_nl: { elements: 32, bytes: 18 },
  iq4_xs: { elements: 256, bytes: 136 },
  mxfp4: { elements: 32, bytes: 17 },
  nvfp4: { elements: 64, bytes: 36 },
} as const;

/** A type of weights in blocks, in the order of elements that GGUF files have: that of `mxfp4` is not Hugging Face's. */
export type BlockType = keyof typeof blockTypes;

export const isBlockType = (type: string): type is BlockType => Object.hasOwn(blockTypes, type);
