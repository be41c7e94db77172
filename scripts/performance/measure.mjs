// Runs `node-moe bench` once per sweep, and times a call with next to no work from JavaScript and from C++.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, release } from 'node:os';
import { promisify } from 'node:util';
import { MoELayer } from '../../dist/index.js';
import { randomValues, smallLayer } from '../small-layer.mjs';
import { measureLoad } from './load.mjs';

const root = new URL('../../', import.meta.url).pathname;
const everyType = 'float32,bfloat16,int8,int4';

/** Shapes whose peers are timed, and the types of weights of each. `npm run bench:peers -- --shape NAME` times others. */
const compared = [
  { shape: 'bench-small', types: everyType },
  { shape: 'olmoe-1b-7b', types: 'bfloat16,int4' },
  { shape: 'qwen3-30b-a3b', types: 'bfloat16,int4' },
];

/** Whole models, a run for each type of weights. */
const modelRuns = ['qwen3-30b-a3b', 'olmoe-1b-7b'].flatMap((model) =>
  ['int4', 'int8', 'bfloat16'].map((type) => ['--models', model, '--weight-type', type]),
);

/**
 * @param seconds for each case and contestant, of which one call takes longer in most of them
 * @returns undefined on a busy machine, where llama.cpp's threads, which wait spinning, suffer most: ratios would flatter us
 */
export async function measureModels({ seconds, peers }) {
  const runs = [];
  for (const options of modelRuns) {
    const run = await runJson(
      'npm run bench:models --',
      ['bench/models.mjs'],
      [...options, ...['--seconds', String(seconds)], ...(peers ? [] : ['--no-peers'])],
    );
    if (run.busyFraction > 0.1) {
      console.error('other programs use this machine: whole models are left out');
      return undefined;
    }
    runs.push(run);
  }
  return { machine: machineFacts(), runs };
}

export async function measure({ seconds, peers }) {
  const bench = (...options) => runBench(seconds, options);
  const threads = availableParallelism();
  const powers = (from, to) =>
    Array.from({ length: Math.log2(to / from) + 1 }, (_, i) => from * 2 ** i);
  const sweep = async (flag, sizes, options) => {
    const results = [];
    for (const size of sizes) results.push(await bench(flag, String(size), ...options));
    return results;
  };

  const results = { machine: machineFacts(), seconds };
  results.tokens = await bench('--weight-type', everyType, '--tokens', powers(1, 2048).join());
  const someTokens = ['--tokens', '1,8,32,128,512'];
  results.groups = await sweep(
    '--weight-group',
    [32, 64, 128],
    ['--weight-type', 'int8,int4', '--tokens', '1,32,512'],
  );
  results.integers = await sweep(
    '--weight-group',
    [32, 128],
    ['--weight-type', 'int8,int4', '--activation-type', 'int8', ...someTokens],
  );
  const { kernels } = results.tokens;
  if (/^avx512.*avx2/.test(kernels))
    results.avx2 = await runBench(seconds, ['--weight-type', everyType, ...someTokens], 'avx2');
  const small = ['--hidden', '1024', '--intermediate', '512', '--weight-type', 'bfloat16,int4'];
  const atOnce = ['--tokens', '1,512'];
  results.experts = await sweep('--experts', powers(8, 256), [...small, '--top-k', '8', ...atOnce]);
  results.topK = await sweep('--top-k', powers(1, 16), [...small, '--experts', '64', ...atOnce]);
  results.threads = await sweep(
    '--threads',
    [...new Set([...powers(1, threads), threads])],
    [...['--weight-type', everyType, '--tokens', '1,32,512']],
  );
  results.peers = [];
  if (peers)
    for (const { shape, types } of compared)
      results.peers.push(
        await runPeers(seconds, ['--shape', shape, '--weight-type', types, ...someTokens]),
      );
  results.models = await measureModels({ seconds, peers });
  results.load = await measureLoad();
  results.call = await callOverhead();
  return results;
}

/** @param isa what MOE_CPU_ISA is to say; absent: nothing */
function runBench(seconds, options, isa) {
  const name = `${isa === undefined ? '' : `MOE_CPU_ISA=${isa} `}node-moe bench`;
  const env = isa === undefined ? {} : { MOE_CPU_ISA: isa };
  return runProgram(name, ['dist/cli/main.js', 'bench'], seconds, options, env);
}

function runPeers(seconds, options) {
  return runProgram('npm run bench:peers --', ['bench/peers.mjs'], seconds, options);
}

/** What a program prints as JSON, with the command that a person would write for it. */
function runProgram(name, program, seconds, options, env = {}) {
  const always = ['--event-loop', '0', '--seconds', String(seconds)];
  return runJson(name, [...program, ...always], options, env);
}

async function runJson(name, program, options, env = {}) {
  const command = `${name} ${options.join(' ')}`;
  console.error(command);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...program, '--json', ...options],
    { cwd: root, maxBuffer: 1 << 26, env: { ...process.env, ...env } },
  );
  return { command, ...JSON.parse(stdout) };
}

function machineFacts() {
  const git = (...args) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  return {
    cpu: cpus()[0].model,
    flags: cpuFlags(),
    cores: availableParallelism(),
    system: `Linux ${release()}, Node ${process.version}`,
    commit: git('rev-parse', '--short', 'HEAD'),
    date: new Date().toISOString().slice(0, 10),
  };
}

function cpuFlags() {
  if (!existsSync('/proc/cpuinfo')) return [];
  const known =
    /\b(avx2|fma|avx_vnni|avx512f|avx512_vnni|avx512_bf16|amx_tile|amx_int8|asimddp|i8mm|bf16)\b/g;
  return [...new Set(readFileSync('/proc/cpuinfo', 'utf8').match(known) ?? [])];
}

/** Microseconds of one token through a layer of 64 x 64: median from JavaScript, median in C++ where it was built. */
async function callOverhead() {
  const layer = await MoELayer.create(smallLayer([4, 1, 64, 64]));
  const hidden = randomValues(64);
  const out = new Float32Array(64);
  const times = [];
  for (let i = 0; i < 30_000; i++) {
    const started = performance.now();
    await layer.forward(hidden, { out });
    times.push((performance.now() - started) * 1e3);
  }
  await layer.close();
  const sorted = times.slice(5_000).sort((a, b) => a - b);
  const at = (part) => sorted[Math.floor(sorted.length * part)];
  return { p50: at(0.5), p99: at(0.99), native: nativeCall() };
}

function nativeCall() {
  const build = `${root}build/bench`;
  const run = (command, args) => execFileSync(command, args, { cwd: root, encoding: 'utf8' });
  run('cmake', ['--preset', 'bench']);
  run('cmake', ['--build', build]);
  const report = run(`${build}/bench/native/cpu_bench`, [
    '--benchmark_filter=small_forward',
    '--benchmark_format=json',
  ]);
  const median = JSON.parse(report).benchmarks.find(
    ({ aggregate_name: name }) => name === 'median',
  );
  return median.real_time / 1e3;
}
