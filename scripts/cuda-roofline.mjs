// What the CUDA kernels could reach at best, on paper: prints the table of docs/cuda.md. No measurement enters, and no
// latency: a kernel takes as long as the busiest of tensor cores, shared memory and device memory, and every launch of a
// graph its start.
const gpus = {
  A100: { teraflops: 312, bandwidth: 2039, multiprocessors: 108, clock: 1.41, mma: 1 },
  // Of Hopper's dense rate mma.sync reaches about 62 %; the rest is for wgmma (arXiv 2402.13499).
  H100: { teraflops: 989, bandwidth: 3350, multiprocessors: 132, clock: 1.83, mma: 0.62 },
};
const shapes = {
  'bench-small': { H: 2048, I: 1024, E: 16, K: 4 },
  'olmoe-1b-7b': { H: 2048, I: 1024, E: 64, K: 8 },
  'qwen3-30b-a3b': { H: 2048, I: 768, E: 128, K: 8 },
  'mixtral-8x7b': { H: 4096, I: 14336, E: 8, K: 2 },
};
const batches = [1, 8, 32, 128, 512, 2048, 8192];
const memoryEfficiency = 0.9; // of the data sheet, what a copy reaches
const launchMicroseconds = 1.5; // between two kernels of a graph
const launches = 8;
const sharedBytesPerClock = 128; // of a multiprocessor

/** Rows an expert's tile computes for `rows` rows. */
function paddedRows(rows, heights) {
  const largest = heights.at(-1);
  const full = Math.floor(rows / largest) * largest;
  const rest = rows - full;
  return full + (rest > 0 ? heights.find((height) => height >= rest) : 0);
}

/** Clocks of shared memory over clocks of the tensor cores for one tile: loads of both operands by four warps. */
function sharedOverTensor(height, gpu) {
  const down = height >= 64 ? 2 : 1;
  const loads = (4 / down) * height * 64 + down * 128 * 64; // bytes, for 32 inputs
  const stores = (height + 128) * 64;
  const shared = (loads + stores) / sharedBytesPerClock;
  const perClock = (gpu.teraflops * 1e3) / gpu.clock / gpu.multiprocessors / 2;
  return shared / ((height * 128 * 32) / (perClock * gpu.mma));
}

function predict(gpu, { H, I, E, K }, T) {
  const few = T <= 32;
  const active = E * (1 - (1 - K / E) ** T);
  const rowsPerExpert = (T * K) / active;
  const heights = [16, 32, 64, 128];
  const padded = few
    ? active * (T <= 8 ? 8 : 32)
    : active * paddedRows(Math.ceil(rowsPerExpert), heights);
  const height = few ? 16 : heights.find((each) => each >= Math.min(rowsPerExpert, 128));
  const flops = 6 * T * K * H * I;
  const tensor = (6 * padded * H * I) / (gpu.teraflops * 1e12 * gpu.mma);
  const shared = few ? 0 : tensor * sharedOverTensor(height, gpu);
  const weights = active * 3 * H * I * 2;
  const rows = T * (4 * H + 6 * H + 4 * H) + T * K * (2 * H + 4 * I + 8 * H);
  const memory = (weights + rows + 4 * E * H) / (gpu.bandwidth * 1e9 * memoryEfficiency);
  const seconds = Math.max(tensor, shared, memory) + launches * launchMicroseconds * 1e-6;
  const bound =
    memory >= Math.max(tensor, shared) ? 'memory' : tensor >= shared ? 'tensor' : 'shared';
  return {
    milliseconds: seconds * 1e3,
    ofFlops: flops / seconds / (gpu.teraflops * 1e12),
    ofBandwidth: weights / seconds / (gpu.bandwidth * 1e9),
    bound,
  };
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction < 0.1 ? 1 : 0)} %`;
console.log(
  '| shape | T | A100 ms | of bf16 peak | of bandwidth | H100 ms | of bf16 peak | of bandwidth | bound |',
);
console.log('|---|---|---|---|---|---|---|---|---|');
for (const [name, shape] of Object.entries(shapes))
  for (const T of batches) {
    const cells = Object.values(gpus).flatMap((gpu) => {
      const { milliseconds, ofFlops, ofBandwidth } = predict(gpu, shape, T);
      return [milliseconds.toPrecision(3), percent(ofFlops), percent(ofBandwidth)];
    });
    console.log(`| ${[name, T, ...cells, predict(gpus.H100, shape, T).bound].join(' | ')} |`);
  }
