import { onAbort } from '../base/abort.js';
import { fromNative } from '../base/errors.js';

/** A native call's outcome, its errors as this package's classes and an abort as the signal's reason. */
export async function settled<T>(
  start: () => Promise<T>,
  signal?: AbortSignal,
  cancel?: () => void,
): Promise<T> {
  signal?.throwIfAborted();
  let forget: (() => void) | undefined;
  try {
    const pending = start();
    if (signal && cancel) forget = onAbort(signal, cancel);
    return await pending;
  } catch (error) {
    if (signal?.aborted && (error as { code?: unknown }).code === 'ERR_MOE_ABORTED')
      throw signal.reason;
    throw fromNative(error);
  } finally {
    forget?.();
  }
}
