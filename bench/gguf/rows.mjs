// @ts-check
// Matrices that are read row by row, and new ones made of their rows.

/**
 * @typedef {object} Rows
 * @property {readonly number[]} shape of however many dimensions; rows go along the last one
 * @property {(index: number) => Float32Array | Uint8Array} row its values, or its bytes in `type`
 * @property {import('./write.mjs').GgufTypeName} [type]
 */

/** Of all matrices together. @param {Pick<Rows, 'shape'>} rows */
export const countOf = ({ shape }) => shape.slice(0, -1).reduce((all, size) => all * size, 1);
/** @param {Pick<Rows, 'shape'>} rows */
export const widthOf = ({ shape }) => shape.at(-1) ?? 0;
/** Of one of the matrices. @param {Pick<Rows, 'shape'>} rows */
export const matrixRows = ({ shape }) => shape.at(-2) ?? 0;

/**
 * Rows of another matrix in a new order.
 *
 * @param {Rows} rows
 * @param {readonly number[]} shape
 * @param {(index: number) => number} from
 * @returns {Rows}
 */
export const picked = (rows, shape, from) => ({
  ...rows,
  shape,
  row: (index) => rows.row(from(index)),
});

/**
 * Some of the rows of each matrix.
 *
 * @param {Rows} rows
 * @param {number} count
 * @param {(index: number) => number} from
 */
export const ofEach = (rows, count, from) =>
  picked(
    rows,
    [...rows.shape.slice(0, -2), count, widthOf(rows)],
    (index) => Math.floor(index / count) * matrixRows(rows) + from(index % count),
  );

/**
 * Some of the columns.
 *
 * @param {Rows} rows
 * @param {number} count
 * @param {(index: number) => number} from
 * @returns {Rows}
 */
export const columns = (rows, count, from) => ({
  shape: [...rows.shape.slice(0, -1), count],
  row: (index) => Float32Array.from({ length: count }, (_, i) => rows.row(index)[from(i)] ?? NaN),
});

/** Each matrix turned. It is read once for each of its columns. @param {Rows} rows @returns {Rows} */
export function turned(rows) {
  const [count, width] = [matrixRows(rows), widthOf(rows)];
  return {
    shape: [...rows.shape.slice(0, -2), width, count],
    row: (index) =>
      Float32Array.from(
        { length: count },
        (_, i) => rows.row(Math.floor(index / width) * count + i)[index % width] ?? NaN,
      ),
  };
}

/** Matrices of one shape, one after another. @param {readonly Rows[]} all @returns {Rows} */
export function stacked(all) {
  const [first] = all;
  if (first === undefined) throw new Error('Expected matrices to stack, got none');
  const count = countOf(first);
  return {
    ...first,
    shape: [all.length, ...first.shape],
    row: (index) => /** @type {Rows} */ (all[Math.floor(index / count)]).row(index % count),
  };
}
