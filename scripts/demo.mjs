// Runs every MoE layer of test/data/tiny-mixtral through the command line on recorded activations: are the results
// right, and which experts serve which text? Exits with 1 when a result is not the recorded one.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { SafetensorsFile } from '../dist/checkpoint/containers/file.js';
import { bar, bold, dim, errorText, significant } from '../dist/cli/text.js';

/**
 * Largest error of an output, relative to its norm. The absolute error is printed and not judged: it grows with the
 * outputs, and where they reach 27, as in layer 3, plain float32 sums are off by 1.3e-5.
 */
const tolerance = 1e-5;

/** The tokens of each text, as test/data/tiny-mixtral/README.md says. */
const texts = [
  { name: 'Bible', tokens: [0, 96] },
  { name: 'Python', tokens: [96, 192] },
];
const barWidth = 26;

const root = fileURLToPath(new URL('..', import.meta.url));
const checkpoint = 'test/data/tiny-mixtral';
const activations = `${checkpoint}/activations.safetensors`;

/** Runs `node-moe run` on all layers and returns what it reports for each. */
function run(...options) {
  const args = [
    'run',
    checkpoint,
    '--layer',
    'all',
    '--input',
    activations,
    '--expect',
    '--json',
    ...options,
  ];
  const { status, stdout, error } = spawnSync(process.execPath, ['dist/cli/main.js', ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(1);
  return JSON.parse(stdout).layers;
}

/** The recorded bytes as one line. */
async function readTexts() {
  const file = await SafetensorsFile.open(`${root}${activations}`);
  const { buffer } = await file.readBytes('tokens');
  const bytes = Uint8Array.from(new BigInt64Array(buffer), Number);
  return texts.map(({ tokens }) =>
    JSON.stringify(new TextDecoder().decode(bytes.subarray(...tokens))),
  );
}

const isRight = ({ relativeError, expertIdsIdentical }) =>
  relativeError !== null && relativeError <= tolerance && expertIdsIdentical === true;

function verdict({ layer, expected }) {
  const { maxAbsoluteError, maxAbsoluteExpected, relativeError, expertIdsIdentical } = expected;
  const error = (value) => (value === null ? 'not a number' : errorText(value));
  const facts = [
    `largest error ${error(maxAbsoluteError)} on values up to ${significant(maxAbsoluteExpected)}`,
    `relative ${error(relativeError)}`,
    `expert ids ${expertIdsIdentical ? 'identical' : 'DIFFERENT'}`,
  ];
  return `${bold(`Layer ${layer}`)}   ${facts.join('   ')}   ${isRight(expected) ? 'ok' : 'WRONG'}`;
}

/** The load of every expert in the two texts, side by side. */
function loads(sides) {
  const most = Math.max(...sides.flatMap(({ expertLoad }) => expertLoad));
  const cell = (load) =>
    `${String(load).padStart(4)} ${bar(load / most, barWidth).padEnd(barWidth)}`;
  const title =
    `  expert  ${texts.map(({ name }) => name.padStart(9).padEnd(barWidth + 5)).join('  ')}`.trimEnd();
  const rows = sides[0].expertLoad.map((_, expert) => {
    const cells = sides.map(({ expertLoad }) => cell(expertLoad[expert]));
    return `  ${String(expert).padStart(6)}  ${cells.join('  ')}`.trimEnd();
  });
  const imbalance = sides
    .map((side, i) => `${texts[i].name} ${significant(side.imbalance)}`)
    .join(', ');
  return [dim(title), ...rows, dim(`  busiest expert over the mean: ${imbalance}`)].join('\n');
}

const whole = run();
const halves = texts.map(({ tokens: [begin, end] }) => run('--tokens', `${begin}:${end}`));
const [{ expertNum, numExpertsChosen, hiddenSize, intermediateSize, weightType, device }] = whole;

const lines = [
  bold('A really trained Mixtral, its MoE layers run by node-moe'),
  `${whole.length} layers, ${expertNum} experts of ${hiddenSize} x ${intermediateSize}, ${numExpertsChosen} per token, ${weightType} weights, on ${device}.`,
  'Its input is what flowed through the model for 96 bytes of each text:',
  ...(await readTexts()).map((text, i) => `  ${texts[i].name.padEnd(8)}${text}`),
  '',
  'Each layer is compared with its recorded output (float64 arithmetic on the same weights, rounded once).',
  'The bars are tokens served by each expert: the experts specialise.',
];
whole.forEach((layer, i) => {
  lines.push('', verdict(layer), loads(halves.map((half) => half[i])));
});
const right = whole.every(({ expected }) => isRight(expected));
lines.push(
  '',
  right
    ? bold(`All ${whole.length} layers give the recorded results.`)
    : bold(
        `Expected a relative error of at most ${tolerance} against the recorded output and the same experts.`,
      ),
  '',
  'Next:',
  `  node dist/cli/main.js run ${checkpoint} --layer 0 --input ${activations} --set routing_policy=TopkRouterV1 --set capacity_factor=1.1`,
  `  node dist/cli/main.js inspect ${checkpoint}`,
  '  node dist/cli/main.js bench',
);
process.stdout.write(`${lines.join('\n')}\n`);
process.exitCode = right ? 0 : 1;
