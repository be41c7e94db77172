/** What a series of timings comes to. Never a mean: one interruption would move it. */
export interface Spread {
  median: number;
  p10: number;
  p90: number;
}

export function spread(samples: readonly number[]): Spread {
  return {
    median: quantile(samples, 0.5),
    p10: quantile(samples, 0.1),
    p90: quantile(samples, 0.9),
  };
}

/** The sample below which the fraction `q` of all lies; NaN without samples. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** Times calls one after another for about `seconds`; at least one. Milliseconds. */
export async function timeCalls(call: () => Promise<unknown>, seconds: number): Promise<number[]> {
  const samples: number[] = [];
  const end = performance.now() + seconds * 1e3;
  do {
    const start = performance.now();
    await call();
    samples.push(performance.now() - start);
  } while (performance.now() < end);
  return samples;
}
