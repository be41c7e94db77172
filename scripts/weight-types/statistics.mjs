// What is told of outputs, and of the bits that pieces of text took.
export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** |a - b| / |b|, as vectors. */
export function relativeError(a, b) {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

export const bitsPerByte = (pieces) =>
  sum(pieces.map(({ bits }) => bits)) / sum(pieces.map(({ bytes }) => bytes));

/**
 * How many bits per byte more than `before` all texts take, and the standard error of that: pieces are a sample of what there
 * could be, and both have the same ones.
 */
export function costOf(texts, before) {
  const [pieces, others] = [texts.flat(), before.flat()];
  const more = pieces.map(({ bits, bytes }, i) => (bits - others[i].bits) / bytes);
  const mean = sum(more) / more.length;
  const variance = sum(more.map((value) => (value - mean) ** 2)) / (more.length - 1);
  return { mean, error: Math.sqrt(variance / more.length) };
}
