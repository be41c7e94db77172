import { CheckpointError, ShapeError } from '../base/errors.js';

/** What a layer's weights lack is the checkpoint's fault: the error says which. No number: what stands around layers. */
export async function inLayer<T>(
  path: string,
  layer: number | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ShapeError || error instanceof CheckpointError)) throw error;
    const where = layer === undefined ? '' : `Layer ${layer} of `;
    throw new CheckpointError(`${where}${path}: ${error.message}`, { cause: error });
  }
}
