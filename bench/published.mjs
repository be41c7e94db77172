// Times layers whose weights are held as GGUF files have them, beside ggml in the same type: npm run bench:published
import { availableParallelism } from 'node:os';
import { Command, Option } from 'commander';
import { integer, oneOf, positive } from '../dist/cli/arguments.js';
import { busyFraction } from '../dist/cli/bench/busy.js';
import { timeCalls } from '../dist/cli/bench/samples.js';
import { shapeNames, shapes } from '../dist/cli/bench/shapes.js';
import { syntheticHidden } from '../dist/cli/bench/synthetic.js';
import { syntheticConfig } from '../dist/cli/bench/synthetic_config.js';
import { interruptSignal, jsonFlag, print } from '../dist/cli/options.js';
import { bold, percent, significant, table } from '../dist/cli/text.js';
import { MoEConfig } from '../dist/index.js';
import { MoELayer } from '../dist/layer/layer.js';
import { preparePeer } from './compare/install.mjs';
import { Peer } from './compare/peer.mjs';
import { ratioText } from './compare/report.mjs';
import { ratioOf, slowdown, takeTurns, timeAlone } from './compare/turns.mjs';
import { ggufTypes } from './gguf/types.mjs';

/** Types as ggml spells them, and as files do. */
const types = {
  ...{ q8_0: 'Q8_0', q6_K: 'Q6_K', q4_K: 'Q4_K', q4_0: 'Q4_0' },
  ...{ iq4_xs: 'IQ4_XS', mxfp4: 'MXFP4' },
};
const typeNames = Object.keys(types);

const command = new Command('bench:published')
  .description('times layers held as GGUF files have their weights, next to ggml')
  .addOption(list('--types', 'types of blocks', typeNames))
  .addOption(
    new Option('--shape <name>', 'sizes of the layer').choices(shapeNames).default('bench-small'),
  )
  .option('--tokens <list>', 'sizes of batches', '1,8,32,128,512')
  .addOption(
    new Option('--activation-type <type>', 'rows').choices(['float', 'int8']).default('int8'),
  )
  .option('--threads <n>', 'threads', integer(1), availableParallelism())
  .option('--seconds <n>', 'time for each case and contestant', positive, 1)
  .option(...jsonFlag)
  .action(async ({ json, ...settings }) => {
    const result = await run(settings, interruptSignal());
    print(json, result, () => report(result));
  });

function list(flag, help, names) {
  return new Option(`${flag} <list>`, `${help}: ${names.join(', ')}`)
    .argParser(oneOf(names))
    .default(names, names.join());
}

async function run(
  { types: chosen, shape: name, tokens, activationType, threads, seconds },
  signal,
) {
  const shape = shapes[name];
  const program = await preparePeer('ggml');
  const result = {
    shape: name,
    activationType,
    threads,
    busyFraction: await busyFraction(),
    cases: [],
  };
  for (const type of chosen) {
    const layer = await layerIn(type, shape, { activationType, threads });
    const sizes = [
      shape.hiddenSize,
      shape.intermediateSize,
      shape.expertNum,
      shape.numExpertsChosen,
    ];
    const peer = await Peer.start(
      { name: 'ggml', type },
      program,
      [...sizes, type, threads].map(String),
    );
    try {
      const contestants = [contestantOf(layer, shape), peer];
      for (const count of tokens.split(',').map(Number)) {
        const alone = [];
        for (const one of contestants) alone.push(await timeAlone(one, count, seconds, signal));
        const turns = await takeTurns(contestants, count, seconds, signal);
        const [ours, theirs] = turns.map((times, i) => ({ alone: alone[i], turns: times }));
        result.cases.push({
          ...{ type, tokens: count, milliseconds: alone, ratio: ratioOf(ours, theirs) },
          slowdowns: [slowdown(ours), slowdown(theirs)],
        });
      }
    } finally {
      peer.close();
      await layer.close();
    }
  }
  return result;
}

/** A layer whose matrices are windows into the same made-up blocks. */
function layerIn(type, { hiddenSize, intermediateSize, expertNum, numExpertsChosen }, held) {
  const { block, bytes, encode } = ggufTypes[types[type]];
  const count = hiddenSize * intermediateSize;
  const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) / 32);
  const encoded = encode(values);
  const source = new Uint16Array(encoded.buffer, encoded.byteOffset, encoded.byteLength / 2);
  const matrix = (outFeatures, inFeatures) => ({
    ...{ source, byteOffset: 0, dtype: type, outFeatures, inFeatures },
    ...{ outStride: inFeatures, inStride: 1 },
  });
  if (count % block !== 0 || bytes <= 0) throw new Error(`Expected whole blocks of ${type}`);
  const gate = matrix(intermediateSize, hiddenSize);
  const expert = { gate, up: gate, down: matrix(hiddenSize, intermediateSize) };
  const router = Float32Array.from({ length: expertNum * hiddenSize }, (_, i) =>
    Math.sin(i * 78.233),
  );
  return MoELayer.fromParts({
    config: new MoEConfig(
      syntheticConfig({ hiddenSize, intermediateSize, expertNum, numExpertsChosen }),
    ),
    ...{ hiddenSize, intermediateSize, sharedSize: 0, activation: 'swiglu' },
    ...{ weightType: 'published', device: 'cpu', ...held },
    views: {
      router: {
        ...{ source: router, byteOffset: 0, dtype: 'float32', outFeatures: expertNum },
        ...{ inFeatures: hiddenSize, outStride: hiddenSize, inStride: 1 },
      },
      experts: Array.from({ length: expertNum }, () => expert),
    },
  });
}

/** Ours runs in this process, between whose calls nothing of it does. */
function contestantOf(layer, shape) {
  const calls = new Map();
  const callOf = (tokens) => {
    const hidden = syntheticHidden(tokens, shape);
    const out = new Float32Array(hidden.length);
    return () => layer.forward(hidden, { out });
  };
  return {
    resume() {},
    pause() {},
    time(tokens, seconds) {
      const call = calls.get(tokens) ?? callOf(tokens);
      calls.set(tokens, call);
      return timeCalls(call, seconds);
    },
  };
}

const columns = [
  { title: 'weights', align: 'left' },
  ...['tokens', 'ms', 'ggml, ms', 'ours faster'].map((title) => ({ title })),
];

function report({ shape, activationType, threads, busyFraction: busy, cases }) {
  const rows = cases.map(({ type, tokens, milliseconds: [ours, theirs], ratio }) => [
    ...[type, String(tokens), significant(ours), significant(theirs), ratioText(ratio)],
  ]);
  const facts = `${shape}, rows of ${activationType}, ${threads} threads, others used ${percent(busy)} at first`;
  return [bold(facts), table(columns, rows)].join('\n');
}

await command.parseAsync().catch((error) => {
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
});
