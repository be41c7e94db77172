import type { Shape } from './shapes.js';
import { type Kind, value } from './synthetic.js';

/** Columns of an output row that are computed: a few, for each costs as much as a dot product per choice. */
const checkedColumns = 16;

/** Elements of an output row, computed plainly in float64. */
export interface ReferenceRow {
  token: number;
  elements: { column: number; value: number }[];
}

/** The first and the last token's rows. */
export function referenceRows(tokens: number, shape: Shape): ReferenceRow[] {
  return [0, tokens - 1].map((token) => referenceRow(token, shape));
}

/**
 * How far rows of an output are from the reference: the largest difference over the largest reference element. NaN
 * when an element is.
 *
 * @param elementAt the output's element
 */
export function relativeError(
  reference: readonly ReferenceRow[],
  elementAt: (token: number, column: number) => number,
): number {
  let difference = 0;
  let size = 0;
  for (const { token, elements } of reference)
    for (const { column, value: expected } of elements) {
      difference = Math.max(difference, Math.abs(elementAt(token, column) - expected));
      size = Math.max(size, Math.abs(expected));
    }
  return difference / size;
}

/** The layer as it is defined: softmax over all experts, the top ones renormalised when there are several, SwiGLU, weighted sum. */
function referenceRow(token: number, shape: Shape): ReferenceRow {
  const { hiddenSize, intermediateSize, expertNum, numExpertsChosen } = shape;
  const hidden = Float64Array.from({ length: hiddenSize }, (_, i) =>
    value('hidden', token * hiddenSize + i),
  );
  const dot = (kind: Kind, row: number, by: Float64Array) =>
    by.reduce((sum, element, i) => sum + element * value(kind, row * by.length + i), 0);

  const logits = Array.from({ length: expertNum }, (_, expert) => dot('router', expert, hidden));
  const chosen = [...logits.keys()]
    .sort((a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b)
    .slice(0, numExpertsChosen);
  const exponentials = chosen.map((expert) => Math.exp(logits[expert] ?? 0));
  // A single choice keeps its probability, as in MindFormers; several are renormalised.
  const counted = numExpertsChosen === 1 ? logits.map(Math.exp) : exponentials;
  const sum = counted.reduce((total, exponential) => total + exponential, 0);

  const columns = Array.from({ length: checkedColumns }, (_, i) =>
    Math.floor((i * hiddenSize) / checkedColumns),
  );
  const elements = [...new Set(columns)].map((column) => ({ column, value: 0 }));
  chosen.forEach((expert, choice) => {
    const inner = Float64Array.from({ length: intermediateSize }, (_, i) => {
      const row = expert * intermediateSize + i;
      const gate = dot('gate', row, hidden);
      return (gate / (1 + Math.exp(-gate))) * dot('up', row, hidden);
    });
    const weight = (exponentials[choice] ?? 0) / sum;
    for (const element of elements)
      element.value += weight * dot('down', expert * hiddenSize + element.column, inner);
  });
  return { token, elements };
}
