import { setTimeout as sleep } from 'node:timers/promises';
import type { MoELayer } from '../../layer.js';
import { type Lateness, measureLateness } from './lateness.js';
import type { Shape } from './shapes.js';
import { syntheticHidden } from './synthetic.js';

/** Most bytes of input and output of the one long batch; a faster layer runs several such batches. */
const maxBatchBytes = 2 ** 29;

export interface EventLoop {
  tokens: number;
  calls: number;
  /** While nothing runs: what the machine itself does to timers. */
  idle: Lateness;
  nodeMoe: Lateness;
}

/**
 * Measures how late a 5 ms interval runs while forwards of about `seconds` run.
 *
 * @param tokensPerSecond what the layer was seen to do
 */
export async function measureEventLoop(
  layer: MoELayer,
  shape: Shape,
  tokensPerSecond: number,
  seconds: number,
  signal: AbortSignal,
): Promise<EventLoop> {
  const wanted = Math.max(1, Math.round(tokensPerSecond * seconds));
  const tokens = Math.min(wanted, Math.floor(maxBatchBytes / (8 * shape.hiddenSize)));
  const calls = Math.ceil(wanted / tokens);
  const hidden = syntheticHidden(tokens, shape);
  const out = new Float32Array(hidden.length);

  const idle = await measureLateness(() =>
    sleep(Math.min(seconds, 0.5) * 1e3, undefined, { signal }),
  );
  const nodeMoe = await measureLateness(async () => {
    for (let call = 0; call < calls; call++) {
      signal.throwIfAborted();
      await layer.forward(hidden, { out, ...(!layer.group && { signal }) });
    }
  });
  return { tokens, calls, idle, nodeMoe };
}
