// Rotations in float64, each written from what is known of it and from nothing of the package.

export interface ReferenceRope {
  /** Of pairs: position p turns a pair by p times its frequency. */
  frequencies: number[];
  /** Of cosine and sine. */
  factor: number;
}

/** One frequency for each pair of `size` numbers. */
export const plainRope = (size: number, theta: number): ReferenceRope => ({
  frequencies: pairs(size).map((i) => 1 / theta ** ((2 * i) / size)),
  factor: 1,
});

export function linearRope(size: number, theta: number, factor: number): ReferenceRope {
  const { frequencies } = plainRope(size, theta);
  return { frequencies: frequencies.map((frequency) => frequency / factor), factor: 1 };
}

export function llama3Rope(
  size: number,
  theta: number,
  by: { factor: number; low: number; high: number; original: number },
): ReferenceRope {
  const frequencies = plainRope(size, theta).frequencies.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength > by.original / by.low) return frequency / by.factor;
    if (wavelength < by.original / by.high) return frequency;
    const smooth = (by.original / wavelength - by.low) / (by.high - by.low);
    return ((1 - smooth) * frequency) / by.factor + smooth * frequency;
  });
  return { frequencies, factor: 1 };
}

export function yarnRope(
  size: number,
  theta: number,
  by: {
    factor: number;
    original: number;
    fast?: number;
    slow?: number;
    truncate?: boolean;
    attention?: number;
  },
): ReferenceRope {
  const { factor, original, fast = 32, slow = 1, truncate = true } = by;
  const dimension = (rotations: number) =>
    (size * Math.log(original / (2 * Math.PI * rotations))) / (2 * Math.log(theta));
  let low = dimension(fast);
  let high = dimension(slow);
  if (truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, size - 1);
  if (low === high) high += 0.001;
  const frequencies = plainRope(size, theta).frequencies.map((frequency, i) => {
    const ramp = Math.max(0, Math.min(1, (i - low) / (high - low)));
    return (frequency / factor) * ramp + frequency * (1 - ramp);
  });
  return { frequencies, factor: by.attention ?? yarnGrowth(factor, 1) };
}

export const yarnGrowth = (factor: number, mscale: number): number =>
  factor > 1 ? 1 + 0.1 * mscale * Math.log(factor) : 1;

export function longRope(
  size: number,
  theta: number,
  factors: readonly number[],
  by: { factor: number; original: number },
): ReferenceRope {
  const frequencies = plainRope(size, theta).frequencies.map((f, i) => f / (factors[i] as number));
  const growth = Math.sqrt(1 + Math.log(by.factor) / Math.log(by.original));
  return { frequencies, factor: by.factor > 1 ? growth : 1 };
}

const pairs = (size: number) => Array.from({ length: size / 2 }, (_, i) => i);
