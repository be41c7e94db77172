// docs/performance.md from the measurements.
import { limit, sweepLines } from './charts.mjs';
import { fixed, median, modelTable, peersTable, table } from './tables.mjs';

export function page(results) {
  const { machine, tokens } = results;
  return `${[
    '# Performance',
    '',
    'Made by `make performance`; the figures behind it are in [performance/results.json](performance/results.json). Every',
    'number is a median, and a ratio compares medians of one run, contestants in turns (see',
    '[bench/README.md](../bench/README.md)). What this machine does in an hour drifts by a third: compare ratios, not times.',
    '',
    table(
      ['', ''],
      [
        ['machine', `${machine.cpu}, ${machine.cores} cores, ${machine.flags.join(' ')}`],
        ['system', machine.system],
        ['kernels', tokens.kernels],
        [
          'limits seen',
          `${fixed(tokens.machine.gflops)} GFLOP/s, ${fixed(tokens.machine.gigabytesPerSecond)} GB/s`,
        ],
        ['measured', `${machine.date}, commit ${machine.commit}`],
      ],
    ),
    '',
    '## Tokens',
    '',
    'The limit is the larger of flops and bytes at the machine’s own rates, which are measured in turns with the forwards. Weights',
    'that stay in the last-level cache between calls can beat it.',
    '',
    'From 4 to 64 tokens an expert has few rows, and int8 and int4 weights are turned into float32 anew for them: with AVX-512,',
    '4 (int8) and 3 (int4) instructions on the ports of the multipliers for two registers of weights, beside 2 for each row. So of',
    'the peak at most 1/3 and 2/5 is left for 1 row, 2/3 and 8/11 for 4 rows, 4/5 and 16/19 for 8. With hundreds of tokens they are',
    'turned into float32 once, and what is left is to add every group’s sum times its scale: [larger groups](#groups) are as fast',
    'as float32. `activationType: "int8"` multiplies [the integers themselves](#integer-rows).',
    '',
    '![Time against tokens](performance/tokens.svg)',
    '',
    ...measured(tokensTable, tokens),
    ...avx2Part(results),
    '### Groups',
    '',
    'How many inputs share a scale, `weightGroup`:',
    '',
    ...measured(groupsTable, results.groups),
    ...integersPart(results),
    ...peersPart(results),
    ...modelsPart(results),
    '## Experts',
    '',
    'Dashed: the time with the fewest experts, and the bytes of the further experts’ weights at the rate of memory. The chart and',
    'the percentages take the machine to be as fast as in the first row: they compare fractions of the multiply-add rate that was',
    'measured in turns with each. With more experts each has fewer rows, 512 of 8 and 16 of 256, and integer weights are widened',
    'for fewer of them.',
    '',
    '![Time against experts](performance/experts.svg)',
    '',
    ...measured(expertsTable, results.experts),
    '## Experts per token',
    '',
    '![Time against experts per token](performance/top-k.svg)',
    '',
    ...measured(topKTable, results.topK),
    '## Threads',
    '',
    '![Speed against threads](performance/threads.svg)',
    '',
    ...measured(threadsTable, results.threads),
    ...loadPart(results),
    '## One call',
    '',
    `One token through a layer of 64 x 64, \`await layer.forward(hidden, { out })\`: p50 ${fixed(results.call.p50)} µs, p99 ` +
      `${fixed(results.call.p99)} µs. The same call in C++ takes ${fixed(results.call.native)} µs, so TypeScript, promise and the ` +
      `device's thread add ${fixed(results.call.p50 - results.call.native)} µs.`,
  ].join('\n')}\n`;
}

const percent = (part) => `${(part * 100).toFixed(0)} %`;
const command = ({ command: text }) => `    ${text}`;

/** A table and the command behind it, the last one of a sweep. */
const measured = (tableOf, results) => [
  tableOf(results),
  '',
  command(Array.isArray(results) ? results.at(-1) : results),
  '',
];

const rateTitles = ['ms', 'GFLOP/s', 'of peak', 'GB/s', 'of peak'];
const rates = (one) => [
  fixed(median(one)),
  fixed(one.nodeMoe.gflops),
  percent(one.nodeMoe.flopFraction),
  fixed(one.nodeMoe.gigabytesPerSecond),
  percent(one.nodeMoe.bandwidthFraction),
];

const expertsTable = (sweep) => sweepTable(sweep, 'experts', ({ shape }) => shape.expertNum);
const topKTable = (sweep) =>
  sweepTable(sweep, 'per token', ({ shape }) => shape.numExpertsChosen, false);

function tokensTable({ cases }) {
  return table(
    ['weights', 'tokens', ...rateTitles, 'over the limit'],
    cases.map((one) => [
      one.weightType,
      one.tokens,
      ...rates(one),
      `${(median(one) / limit(one)).toFixed(2)}x`,
    ]),
  );
}

function avx2Part({ avx2 }) {
  if (avx2 === undefined) return [];
  return [
    '### AVX2',
    '',
    'The same machine as one without AVX-512, whose multiply-add rate is half as high:',
    '',
    ...measured(tokensTable, avx2),
  ];
}

function groupsTable(sweep) {
  return table(
    ['weights', 'group', 'tokens', ...rateTitles],
    sweep.flatMap(({ command: text, cases }) =>
      cases.map((one) => [
        one.weightType,
        /--weight-group (\d+)/.exec(text)[1],
        one.tokens,
        ...rates(one),
      ]),
    ),
  );
}

function integersPart({ integers }) {
  return [
    '### Integer rows',
    '',
    'With `activationType: "int8"` rows become integers too ([weight-types.md](weight-types.md) says what that costs), and products',
    'are exact sums of them. Faster than the peak: that of multiply-adds in float32.',
    '',
    ...measured(groupsTable, integers),
  ];
}

function loadPart({ load }) {
  const { hidden, intermediate, experts, bytes, read, cases } = load;
  const rate = (milliseconds) => (bytes / milliseconds / 1e6).toPrecision(2);
  return [
    '## Loading',
    '',
    `\`MoELayer.load\` of a bfloat16 checkpoint of ${fixed(bytes / 1e6)} MB (H ${hidden}, I ${intermediate}, E ${experts}) that the system has in`,
    `its file cache, packed or quantised on the way, and of a file that \`node-moe pack\` wrote before. Node's \`readFile\` of the`,
    `checkpoint takes ${fixed(read)} ms, ${rate(read)} GB/s.`,
    '',
    table(
      ['weights', 'checkpoint, ms', 'GB/s of the checkpoint', 'packed file, ms'],
      cases.map(({ weightType, checkpoint, packed }) => [
        weightType,
        fixed(checkpoint),
        rate(checkpoint),
        fixed(packed),
      ]),
    ),
    '',
  ];
}

function peersPart({ peers }) {
  if (peers.length === 0) return [];
  const versions = new Set(
    peers.flatMap(({ cases }) =>
      cases.flatMap((one) => one.peers.map(({ name, version }) => `${name} ${version}`)),
    ),
  );
  return [
    '## Other packages',
    '',
    'Their time over ours: above 1, node-moe is faster. Each runs while every other one is stopped; a ratio is not given where one',
    'of the two took more than 1.3 times as long as alone: *disturbed*.',
    '',
    'With one token ggml reads the weights about as fast as memory gives them, and so do we: the ratio is near 1. Ratios of 12 to',
    '35 with one token, which this page had before 2026-11-28, were wrong: contestants disturbed one another.',
    '',
    ...peers.flatMap((result) => {
      const { shape } = result;
      const sizes = `H ${shape.hiddenSize}, I ${shape.intermediateSize}, E ${shape.expertNum}, K ${shape.numExpertsChosen}:`;
      return [sizes, '', ...measured(peersTable, result)];
    }),
    `Versions: ${[...versions].join(', ')}.`,
    '',
  ];
}

function modelsPart({ models }) {
  if (models === undefined) return [];
  const { machine, runs } = models;
  const { layers, threads, activationType, version } = runs[0];
  const names = [...new Set(runs.flatMap(({ cases }) => cases.map(({ model }) => model)))];
  return [
    '## Whole models',
    '',
    `Tokens per second of models with made-up weights at the widths of published ones, ${layers} layers, a vocabulary of 32,000,`,
    `${threads} threads, beside llama.cpp with the same weights in as many bits (BF16, Q8_0, Q4_0; the output head too) as`,
    `node-llama-cpp${version === undefined ? '' : ` ${version}`} runs it, in brackets: ours over the faster of its two ways, with flash attention and without. Rows of`,
    `integer products are ${activationType === 'int8' ? 'int8, as llama.cpp has them (`activationType: "int8"`)' : 'floats'}. A prompt is computed to its first token; sequences generate at`,
    'once, each with a short text behind it; *behind 8192* is one sequence behind so many tokens. The percentages say how much of',
    'the bandwidth of memory one sequence reaches, measured in turns with it, of what it must read: weights, keys and values.',
    '',
    ...names.flatMap((name) => {
      const cases = runs.flatMap((run) => run.cases.filter(({ model }) => model === name));
      return [`${name}:`, '', modelTable(cases), ''];
    }),
    command(runs.at(-1)),
    '',
    `Measured ${machine.date}, commit ${machine.commit}, ${machine.cpu}, ${machine.cores} cores.`,
    '',
  ];
}

function sweepTable(sweep, title, size, withExpected = true) {
  const lines = sweepLines(sweep, size);
  return table(
    [title, ...lines.map(({ name }) => `${name}, ms`)],
    lines[0].points.map(({ size: at }, i) => [
      at,
      ...lines.map(({ points, tokens }) => {
        const { time, steady, expected } = points[i];
        const over =
          withExpected && tokens > 1 && i > 0
            ? ` (${percent(steady / expected - 1)} over the bytes)`
            : '';
        return fixed(time) + over;
      }),
    ]),
  );
}

function threadsTable(sweep) {
  const { cases } = sweep[0];
  return table(
    ['threads', ...cases.map(({ weightType, tokens }) => `${weightType}, ${tokens}, ms`)],
    sweep.map((result) => [result.threads, ...result.cases.map((one) => fixed(median(one)))]),
  );
}
