import { quantile } from './samples.js';

const intervalMilliseconds = 5;

/** How late the ticks of a 5 ms interval came while something ran, in milliseconds. */
export interface Lateness {
  /** How long the work took. */
  workMilliseconds: number;
  ticks: number;
  p50: number;
  p99: number;
  max: number;
}

/** Lets a 5 ms interval tick from the start of some work to the first tick after its end. */
export async function measureLateness(work: () => Promise<unknown>): Promise<Lateness> {
  const late: number[] = [];
  let last = performance.now();
  let onTick = () => {};
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(Math.max(0, now - last - intervalMilliseconds));
    last = now;
    onTick();
  }, intervalMilliseconds);
  try {
    const start = performance.now();
    await work();
    const workMilliseconds = performance.now() - start;
    await new Promise<void>((resolve) => {
      onTick = resolve;
    });
    return summarizeLateness(late, workMilliseconds);
  } finally {
    clearInterval(timer);
  }
}

export function summarizeLateness(late: readonly number[], workMilliseconds: number): Lateness {
  return {
    workMilliseconds,
    ticks: late.length,
    p50: quantile(late, 0.5),
    p99: quantile(late, 0.99),
    max: Math.max(...late),
  };
}
