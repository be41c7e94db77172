import { floatValues } from '../layer/float_values.js';
import type { Tensor } from '../layer/weights.js';

/** How far an output is from a recorded one. */
export interface Comparison {
  tensor: string;
  /** Largest absolute difference of an element; null when one of the two is not a number. */
  maxAbsoluteError: number | null;
  /** Largest absolute element of the recorded output: what the largest error is to be seen against. */
  maxAbsoluteExpected: number;
  /** Norm of the difference over the norm of the recorded output; null as above. */
  relativeError: number | null;
  /** Whether every choice is the recorded one; null when no choices were recorded. */
  expertIdsIdentical: boolean | null;
}

/** Compares an output with the recorded one. Both have the same number of elements. */
export function compare(
  tensor: string,
  output: Float32Array,
  expected: Tensor,
  expertIdsIdentical: boolean | null,
): Comparison {
  let largest = 0;
  let squares = 0;
  let norm = 0;
  let size = 0;
  floatValues(expected).forEach((value, i) => {
    const difference = Math.abs((output[i] ?? Number.NaN) - value);
    largest = Math.max(largest, difference);
    squares += difference ** 2;
    norm += value ** 2;
    size = Math.max(size, Math.abs(value));
  });
  const relative = squares === 0 ? 0 : Math.sqrt(squares / norm);
  return {
    tensor,
    maxAbsoluteError: Number.isNaN(squares) ? null : largest,
    maxAbsoluteExpected: size,
    relativeError: Number.isNaN(relative) ? null : relative,
    expertIdsIdentical,
  };
}
